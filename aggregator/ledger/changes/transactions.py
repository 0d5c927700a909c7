"""Transactions: all or nothing, and durable."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aggregator.ledger.layout import MIGRATIONS
from aggregator.ledger.reading import LedgerReader
from fedge.errors import StateError
from fedge.storage.databases import Connect, open_database, transaction
from fedge.storage.segments import Segments


class Transactions(LedgerReader):
    """An open ledger that can be changed."""

    def __init__(
        self, path: Path, connect: Connect = open_database, segments: Segments | None = None
    ) -> None:
        super().__init__(path, connect(path, MIGRATIONS), segments)
        self._freed = True
        """Whether segments may hold nothing any more that a place refers to."""
        self._whole: tuple[str, bytes, bytes] | None = None
        """Device, digest and data of an update of one frame that this transaction has stored last."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: all or nothing, and durable when it ends."""
        try:
            with transaction(self._db, self._path, begin="BEGIN"):  # no other process writes
                try:
                    yield
                    self._segments.sync()  # before the commit: a place is never there without its bytes
                except BaseException:
                    self._freed = True  # the segment that it began, if any
                    self._segments.undo()  # not after a commit that fails: it may count after a power cut
                    raise
        finally:
            self._whole = None
        if self._freed:
            self._free_segments()

    def _free_segments(self) -> None:
        """Delete segments that nothing refers to; if that fails, the next transaction tries again."""
        with suppress(StateError):  # what is committed stays so, whatever happens to the rest
            rows = self._all("SELECT DISTINCT segment FROM frames WHERE segment IS NOT NULL")
            self._segments.keep({number for (number,) in rows})
            self._freed = False

    def _run(self, statement: str, *values: object) -> None:
        self._all(statement, *values)
