"""Read a device's memory while its agent may be at work with it."""

import sqlite3
from contextlib import closing
from pathlib import Path

from agent.data.snapshot import Snapshot
from fedge.storage.databases import database_error, open_read_only


def read_moved(path: Path) -> tuple[str, int]:
    """As `Memory.moved`, of a database that may be in use, and may not be there yet.

    Raises:
        StateError: it cannot be read.
    """
    if not path.is_file():
        return "", 0
    try:
        with closing(open_read_only(path)) as db:
            if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'moved'").fetchone() is None:
                return "", 0  # of an older program
            row = db.execute("SELECT day, bytes FROM moved").fetchone()
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    return (str(row[0]), int(row[1])) if row else ("", 0)


def read_snapshots(path: Path) -> dict[str, Snapshot]:
    """As `Memory.snapshots`, of a database that may be in use, and may not be there yet.

    Raises:
        StateError: it cannot be read.
    """
    if not path.is_file():
        return {}
    try:
        with closing(open_read_only(path)) as db:
            if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'told'").fetchone() is None:
                return {}  # of an older program
            rows = db.execute("SELECT source, snapshot FROM told ORDER BY source").fetchall()
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    return {source: Snapshot.from_bytes(content) for source, content in rows}
