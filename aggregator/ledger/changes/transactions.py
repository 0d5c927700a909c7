"""How changes reach the database: all or nothing, and durable."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aggregator.ledger.layout import MIGRATIONS
from aggregator.ledger.reading import LedgerReader
from fedge.store.databases import Connect, database_error, open_database


class Transactions(LedgerReader):
    """An open ledger that can be changed."""

    def __init__(self, path: Path, connect: Connect = open_database) -> None:
        super().__init__(path, connect(path, MIGRATIONS))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and durable when it ends."""
        try:
            self._db.execute("BEGIN")  # nobody else writes: a turn that changes nothing takes no lock
            yield
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise database_error(self._path, error) from error
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _run(self, statement: str, *values: object) -> None:
        self._all(statement, *values)
