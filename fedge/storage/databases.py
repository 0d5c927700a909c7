"""Databases: SQLite in WAL mode with synchronous=FULL.

Once a transaction of `open_database` has committed, a power cut cannot undo it.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from fedge.errors import DamagedState, StateError
from fedge.storage.folders import adopt, opened
from fedge.storage.pinning import pinned

READ_TEXT = partial(str, encoding="utf-8", errors="replace")
"""Decodes text so that a flipped bit gives other text, and no database error."""


def open_database(path: Path, migrations: Sequence[str], *, patience_s: float = 5.0) -> sqlite3.Connection:
    """Open or create a database; transactions begin with an explicit BEGIN and end durably.

    Args:
        path: the file; its WAL lies beside it.
        migrations: scripts of SQL statements; the n-th, counted from 0, turns layout n into layout n + 1.
            Those that are missing are one transaction: a power cut leaves the layout that was there.
        patience_s: how long to wait for another process's transaction, now and later.

    Raises:
        DamagedState: the file is not one of our databases, or its pages are inconsistent.
        StateError: it cannot be opened or written, or a newer program made it.
    """
    try:
        with pinned(path, make=True) as address:
            connection = sqlite3.connect(
                address, timeout=patience_s, uri=True, isolation_level=None, check_same_thread=False
            )
        connection.text_factory = READ_TEXT
        try:
            found = _examine(connection, path)
            _migrate(connection, path, found, migrations)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    return connection


def make_private(path: Path) -> None:
    """Make a database accessible to its owner alone before it is opened; create it if it does not exist.

    Raises:
        StateError: it is not a file of its folder, or cannot be made.
    """
    try:
        with opened(path.parent) as folder:
            found = folder.find(path.name)
            if found is not None and found.st_mode & 0o777 == 0o600 and os.geteuid() != 0:
                return
            with folder.file(path.name, os.O_RDWR | os.O_CREAT) as descriptor:
                os.fchmod(descriptor, 0o600)
                if found is None:
                    adopt(folder, descriptor)
    except OSError as error:
        raise StateError(f"{path}: cannot be opened: {error.strerror}") from error


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open an existing database read-only.

    Raises:
        sqlite3.Error: it cannot be opened.
        StateError: it is not a file of its folder.
    """
    with pinned(path, make=False) as address:
        connection = sqlite3.connect(address, uri=True)
    connection.text_factory = READ_TEXT
    return connection


def wipe(path: Path, db: sqlite3.Connection) -> None:
    """Rewrite a database's whole file, so that removed rows are nowhere in it; call it outside a transaction.

    Raises:
        sqlite3.Error: it cannot be written: there is no room for a second copy, or somebody else writes.
        StateError: somebody reads it, so its write-ahead log, which holds everything, could not be emptied.
    """
    db.execute("VACUUM")
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StateError(
            f"{path}: removed rows are still in its write-ahead log, because another program reads it: end "
            "that program (a backup, a dashboard), and run this again"
        )


Connect = Callable[[Path, Sequence[str]], sqlite3.Connection]
"""Opens a store's database: `open_database`, or a stand-in for a disk."""


def database_error(path: Path, error: sqlite3.Error) -> StateError:
    """The error for a file after an error of SQLite: it is damaged, or only cannot be used now."""
    code = (
        getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    )  # the extended code refines the primary one
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DamagedState(f"{path}: is damaged ({error})")
    return StateError(f"{path}: {error}")


_MARK = 0x46650000
"""`application_id` is this number plus the layout, so that a flipped bit in either one is detected."""


def _examine(connection: sqlite3.Connection, path: Path) -> int:
    """Check all pages, and that the file can be written; return the layout, 0 if the file is new."""
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        # Some builds overwrite deleted data with zeros, and so write everything twice: SD cards wear out.
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA user_version={found}")  # a write that does not reach the disk
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        # SQLite takes a damaged header for a future format, and opens it read-only or not at all.
        code = error.sqlite_errorcode & 0xFF
        of_the_future = code == sqlite3.SQLITE_ERROR or (
            code == sqlite3.SQLITE_READONLY and os.access(path, os.W_OK)
        )
        if of_the_future:
            raise DamagedState(f"{path}: is damaged ({error})") from error
        raise
    if verdict != "ok":
        raise DamagedState(f"{path}: is damaged ({' '.join(verdict.split())})")
    if mark != (_MARK + found if found else 0):
        raise DamagedState(f"{path}: is damaged (its header says layout {found} and mark {mark:#x})")
    return int(found)


@contextmanager
def transaction(
    connection: sqlite3.Connection, path: Path, *, begin: str = "BEGIN IMMEDIATE"
) -> Iterator[None]:
    """A transaction: all or nothing, and durable when it ends.

    Args:
        connection: as `open_database` makes it.
        path: its file, for messages.
        begin: "BEGIN" takes no lock until the first write, for a database that only this process writes.

    Raises:
        DamagedState: the file is damaged.
        StateError: the disk is full, read-only or failing, or the database is busy. Then nothing has changed;
            nor has it if anything else is raised inside.
    """
    try:
        connection.execute(begin)
        yield
        connection.execute("COMMIT")
    except BaseException as error:
        with suppress(sqlite3.Error):  # the first error is reported
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise database_error(path, error) from error
        raise


def _migrate(connection: sqlite3.Connection, path: Path, found: int, migrations: Sequence[str]) -> None:
    """Run all missing migrations in one transaction: an interruption leaves the older layout."""
    if found == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    # Another process that started at the same moment may have migrated it meanwhile.
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > len(migrations):
        raise StateError(
            f"{path}: has layout {found}, this program knows up to {len(migrations)}: install the newer "
            "program that wrote it, restore the backup from before the upgrade, or move the file away to "
            "start anew"
        )
    for script in migrations[found:]:
        for statement in _statements(script):
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version={len(migrations)}")
    connection.execute(f"PRAGMA application_id={_MARK + len(migrations)}")
    connection.execute("COMMIT")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script one by one: `executescript` would end our transaction."""
    statement = ""
    for part in script.split(";"):
        statement += f"{part};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement:
        yield statement  # incomplete: SQLite reports it
