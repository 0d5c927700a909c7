"""Transactions: all or nothing, and durable."""

from contextlib import AbstractContextManager
from pathlib import Path

from aggregator.ledger.layout import MIGRATIONS
from aggregator.ledger.reading import LedgerReader
from fedge.storage.databases import Connect, open_database, transaction


class Transactions(LedgerReader):
    """An open ledger that can be changed."""

    def __init__(self, path: Path, connect: Connect = open_database) -> None:
        super().__init__(path, connect(path, MIGRATIONS))

    def transaction(self) -> AbstractContextManager[None]:
        """A transaction: all or nothing, and durable when it ends."""
        return transaction(self._db, self._path, begin="BEGIN")  # no other process writes

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _run(self, statement: str, *values: object) -> None:
        self._all(statement, *values)
