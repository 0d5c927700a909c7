"""Reads a device's memory while its agent may be using it."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from agent.data.snapshot import Snapshot
from fedge.storage.databases import database_error, open_read_only


def read_moved(path: Path) -> tuple[str, int]:
    """As `Memory.moved`, of a database that may be in use, and may not be there yet.

    Raises:
        StateError: it cannot be read.
    """
    rows = _rows(path, "moved", "SELECT day, bytes FROM moved")
    return (str(rows[0][0]), int(rows[0][1])) if rows else ("", 0)


def read_snapshots(path: Path) -> dict[str, Snapshot]:
    """As `Memory.snapshots`, of a database that may be in use, and may not be there yet.

    Raises:
        StateError: it cannot be read.
    """
    rows = _rows(path, "told", "SELECT source, snapshot FROM told ORDER BY source")
    return {source: Snapshot.from_bytes(content) for source, content in rows}


def _rows(path: Path, table: str, query: str) -> list[Any]:
    """The rows of a query; none if the database or its table is not there (an older program made it)."""
    if not path.is_file():
        return []
    try:
        with closing(open_read_only(path)) as db:
            if db.execute("SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)).fetchone() is None:
                return []
            return db.execute(query).fetchall()
    except sqlite3.Error as error:
        raise database_error(path, error) from error
