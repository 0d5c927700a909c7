"""Access to the database, and the translation of its errors."""

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aggregator.ledger.layout import HAS_SEGMENTS, MIGRATIONS
from fedge.errors import DamagedState
from fedge.storage.databases import database_error
from fedge.storage.segments import FileSegments, Place, Segments, place


class Access:
    """An open ledger's database, and the segments beside it.

    Args:
        path: of the database.
        db: its connection.
        segments: with the frames of updates; None: the files that belong to `path`.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, segments: Segments | None = None) -> None:
        self._path, self._db = path, db
        self._found = 0
        """The layout that the file had when it was asked for last."""
        self._segments = segments if segments is not None else FileSegments(path)

    def close(self) -> None:
        """Close the database and its segments."""
        self._segments.close()
        self._db.close()

    def bytes_held(self) -> int:
        """The size of the ledger in bytes, without freed space."""
        names = ("page_count", "freelist_count", "page_size")
        pages, free, page = (self._one(f"PRAGMA {name}")[0] for name in names)
        return int((pages - free) * page) + self._bytes_in_segments()

    def _bytes_in_segments(self) -> int:
        if self._layout() < HAS_SEGMENTS:
            return 0
        return int(self._one("SELECT coalesce(sum(length), 0) FROM frames WHERE segment IS NOT NULL")[0])

    def _layout(self) -> int:
        """The layout of the file, which may be an old one: a ledger that is only read is not migrated.

        Layouts only grow, so one that is as new as this program's is asked for once.
        """
        if self._found < len(MIGRATIONS):
            self._found = int(self._one("PRAGMA user_version")[0])
        return self._found

    def _place(self, *row: object) -> Place:
        try:
            return place(*row)
        except ValueError as error:
            raise self._unsound("where a frame is", error) from error

    def _one(self, statement: str, *values: object) -> Any:
        rows = self._all(statement, *values)
        return rows[0] if rows else None

    def _all(self, statement: str, *values: object) -> list[Any]:
        self._catch_up()
        return self._at_once(statement, *values)

    def _at_once(self, statement: str, *values: object) -> list[Any]:
        """As `_all`, before the changes that `_catch_up` makes."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise database_error(self._path, error) from error

    def _rows(self, statement: str, *values: object) -> Generator[Any, None, None]:
        self._catch_up()
        try:
            yield from self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise database_error(self._path, error) from error

    def _catch_up(self) -> None:
        """Make the changes that wait; a ledger that is only read has none."""

    @contextmanager
    def _sound(self, what: str) -> Iterator[None]:
        """Report values that cannot be read as damage, because the aggregator wrote them itself."""
        try:
            yield
        except ValueError as error:
            raise self._unsound(what, error) from error

    def _unsound(self, what: str, error: ValueError) -> DamagedState:
        return DamagedState(f"{self._path}: is damaged ({what}: {error})")
