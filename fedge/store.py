"""What "durable" means here: SQLite in WAL mode with synchronous=FULL, and files that change as a whole.

After `atomic_write` returns, or a transaction of `open_database` has committed, a power cut finds the new
state; before, the old one; never a mixture.
"""

import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path

from fedge.errors import GaveWay, StateError


def atomic_write(path: Path, data: bytes | memoryview, *, mode: int = 0o644) -> None:
    """Replace the file by `data`: temporary file, fsync, rename, fsync of the folder.

    Raises:
        StateError: the disk is full, read-only or failing; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, to set the mode at creation)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StateError(f"{path}: cannot be written: {error.strerror or error}") from error


def remove(path: Path) -> None:
    """Delete a file that may already be gone, durably.

    Raises:
        StateError: the disk is read-only or failing.
    """
    try:
        if path.exists():
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
    except OSError as error:
        raise StateError(f"{path}: cannot be removed: {error.strerror or error}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable (renames, new files, deletions)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, *, mode: int = 0o700) -> Path:
    """Create a folder that, by default, only its owner reads.

    Raises:
        StateError: it cannot be made or written to; the text says so before anything is lost.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError("not writable by this user")
    except OSError as error:
        raise StateError(f"{folder}: this folder cannot be used: {error.strerror or error}") from error
    return folder


def lock(folder: Path) -> int:
    """Make this process the only one at work in a state folder, until it ends.

    Returns:
        The descriptor that holds the lock: keep it open.

    Raises:
        GaveWay: another process holds it.
        StateError: the disk is full, read-only or failing, or knows no locks.
    """
    path = folder / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(descriptor, 0)
        with suppress(OSError):  # on a full disk the lock holds without a name
            os.write(descriptor, str(os.getpid()).encode())
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise GaveWay(f"{folder}: process {holder} already works with this state folder") from None
    except OSError as error:
        os.close(descriptor)
        raise StateError(f"{path}: cannot be locked: {error.strerror}") from error
    return descriptor


def open_database(path: Path, schema: str, version: int) -> sqlite3.Connection:
    """Open or create a database; transactions begin with an explicit BEGIN and end durably.

    Args:
        path: the file; its WAL lies beside it.
        schema: statements that create the tables of `version`.
        version: kept in `PRAGMA user_version`.

    Raises:
        StateError: the file is no database, is damaged, or was written by another version.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection, path, schema, version)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise StateError(f"{path}: {error}; move the file away to start anew") from error
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, schema: str, version: int) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == 0:
        connection.executescript(f"BEGIN; {schema}; PRAGMA user_version={version}; COMMIT")
    elif found != version:
        raise StateError(f"{path}: has layout {found}, this program knows {version}: upgrade the program")
