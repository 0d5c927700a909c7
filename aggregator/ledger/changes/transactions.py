"""Transactions: all or nothing, and durable."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aggregator.ledger.layout import MIGRATIONS
from aggregator.ledger.reading import LedgerReader
from fedge.errors import DamagedState, StateError
from fedge.storage.databases import Connect, database_error, open_database, transaction
from fedge.storage.segments import Segments


class Transactions(LedgerReader):
    """An open ledger that can be changed."""

    def __init__(
        self, path: Path, connect: Connect = open_database, segments: Segments | None = None
    ) -> None:
        super().__init__(path, connect(path, MIGRATIONS), segments)
        self._freed = True
        """Whether segments may hold nothing any more that a place refers to."""
        self._looked_at = 0
        """The newest segment when unused bytes were looked for last."""
        self._stay: set[int] = set()
        """Segments that are damaged, so that nothing is moved out of them."""
        self._whole: tuple[str, bytes, bytes] | None = None
        """Device, digest and data of an update of one frame that this transaction has stored last."""
        self._waiting: dict[str, list[tuple[object, ...]]] = {}
        """Changes to make before the next statement, by statement."""
        self._judged: set[tuple[str, bytes]] = set()
        """Device and digest of the updates whose verdicts may be among them."""
        self._without_verdict: set[tuple[str, bytes]] = set()
        """Device and digest of updates that had no verdict when `look_up` looked for several at once."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: all or nothing, and durable when it ends."""
        try:
            with transaction(self._db, self._path, begin="BEGIN"):  # no other process writes
                try:
                    yield
                    self._catch_up()
                    self._segments.sync()  # before the commit: a place is never there without its bytes
                except BaseException:
                    self._freed = True  # the segment that it began, if any
                    self._segments.undo()  # not after a commit that fails: it may count after a power cut
                    raise
        finally:
            self._whole = None
            self._waiting.clear()
            self._judged.clear()
            self._without_verdict.clear()
        if self._freed or self._segments.newest != self._looked_at:
            self._tidy()

    def _tidy(self) -> None:
        """Delete segments that nothing refers to, and make one that is mostly unused one of them.

        Each time that a segment has ended, the ended ones so take at most twice the bytes that places refer
        to. And at most as many bytes are moved as have become unused. If that fails, what is committed stays
        so, and a later transaction tries again.
        """
        with suppress(StateError):
            unused = self._delete_unused()
            self._freed, self._looked_at = len(unused) > 1, self._segments.newest
            if unused:
                try:
                    self._move_out_of(unused[0])
                    self._delete_unused()
                except DamagedState:  # the update is found out to be damaged where it is needed
                    self._stay.add(unused[0])

    def _delete_unused(self) -> list[int]:
        """Delete the segments that nothing refers to; return those of which less than half is used."""
        used = dict(
            self._all("SELECT segment, sum(length) FROM frames WHERE segment IS NOT NULL GROUP BY segment")
        )
        self._segments.keep(used.keys())
        return sorted(
            number
            for number, size in self._segments.ended().items()
            if number in used and 2 * used[number] < size and number not in self._stay
        )

    def _move_out_of(self, segment: int) -> None:
        """Append again what places in a segment refer to."""
        with transaction(self._db, self._path, begin="BEGIN"):
            try:
                for row, *place in self._all(
                    "SELECT rowid, segment, offset, length FROM frames WHERE segment = ? ORDER BY offset",
                    segment,
                ):
                    moved = self._segments.append(self._segments.read(self._place(*place)))
                    self._run(
                        "UPDATE frames SET segment = ?, offset = ?, length = ? WHERE rowid = ?", *moved, row
                    )
                self._segments.sync()
            except BaseException:
                self._segments.undo()
                raise

    def _run(self, statement: str, *values: object) -> None:
        self._all(statement, *values)

    def _run_soon(self, statement: str, *values: object) -> None:
        """Run a statement together with others of the same text, before the next one that is not like this.

        Statements of different texts may change places, so they must not depend on one another.
        """
        self._waiting.setdefault(statement, []).append(values)

    def _catch_up(self) -> None:
        try:
            while self._waiting:
                statement = next(iter(self._waiting))
                self._db.executemany(statement, self._waiting.pop(statement))
        except sqlite3.Error as error:
            raise database_error(self._path, error) from error
