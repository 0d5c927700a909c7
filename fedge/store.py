"""What "durable" means here: SQLite in WAL mode with synchronous=FULL, and files that change as a whole.

After `atomic_write` returns, or a transaction of `open_database` has committed, a power cut finds the new
state; before, the old one; never a mixture.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from fedge.errors import DamagedState, GaveWay, StateError


def atomic_write(
    path: Path, data: bytes | memoryview, *, mode: int = 0o644, owner: tuple[int, int] | None = None
) -> None:
    """Replace the file by `data`: temporary file, fsync, rename, fsync of the folder.

    Args:
        path: the file; it need not be there.
        data: its whole new content.
        mode: its permissions, of which the process's mask is taken away.
        owner: user and group id, for root who writes somebody else's file; without it the writer's own.

    Raises:
        StateError: the disk is full, read-only or failing; the old file is untouched.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        descriptor = _open_new(temporary, mode)
        with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, to set the mode at creation)
            if owner is not None and os.geteuid() == 0:
                os.fchown(descriptor, *owner)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StateError(f"{path}: cannot be written: {error.strerror or error}") from error


def _open_new(path: Path, mode: int) -> int:
    """Create a file to write to; what lies there goes first, and is never written to or followed as a link.

    Root writes in folders of services, which could put a link there to any file of the system.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        path.unlink()
        return os.open(path, flags, mode)


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


def give_to_owner(folder: Path, *files: Path) -> None:
    """Let the owner of a folder own these files in it: root has worked there in the place of a service."""
    if os.geteuid() == 0:
        owner = folder.stat()
        for file in files:
            with suppress(FileNotFoundError):
                os.chown(file, owner.st_uid, owner.st_gid, follow_symlinks=False)


def share_with_group(file: Path) -> None:
    """Let a file's group read it; a link is never followed, as who owns the folder can put one there.

    Raises:
        OSError: it is not there, is a link, or is somebody else's.
    """
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # a pipe there blocks nobody
    try:
        os.fchmod(descriptor, 0o640)
    finally:
        os.close(descriptor)


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
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
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


def quarantine(path: Path) -> Path:
    """Put a damaged file aside under the next free name `*.quarantine-N`, with its WAL if it is a database.

    Returns:
        Where it lies now, for whoever wants to look at it or to restore it.

    Raises:
        StateError: the disk is read-only or failing.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.quarantine-{number}")).exists():
        number += 1
    try:
        # The WAL goes first: left alone beside a new database it would be played into that one.
        for suffix in ("-wal", "-shm", ""):
            source = path.with_name(path.name + suffix)
            if source.exists():
                source.rename(aside.with_name(aside.name + suffix))
        sync_folder(path.parent)
    except OSError as error:
        raise StateError(f"{path}: cannot be put aside: {error.strerror or error}") from error
    return aside


READ_TEXT = partial(str, encoding="utf-8", errors="replace")
"""How text is read: a flipped bit shows in what it means, and is no error of the database."""


def open_database(path: Path, migrations: Sequence[str]) -> sqlite3.Connection:
    """Open or create a database; transactions begin with an explicit BEGIN and end durably.

    Args:
        path: the file; its WAL lies beside it.
        migrations: scripts of SQL statements; the n-th, counted from 0, turns layout n into layout n + 1.
            Those that are missing are one transaction: a power cut leaves the layout that was there.

    Raises:
        DamagedState: the file is no database of ours, or its pages do not hold together.
        StateError: it cannot be opened or written, or a newer program made it.
    """
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
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


Connect = Callable[[Path, Sequence[str]], sqlite3.Connection]
"""How a store gets at its database: `open_database`, or whatever stands in for a disk."""


def database_error(path: Path, error: sqlite3.Error) -> StateError:
    """What an error of SQLite means for the file: it is damaged, or only cannot be used just now."""
    code = (
        getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & 0xFF
    )  # what is above tells more of the same
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return DamagedState(f"{path}: is damaged ({error})")
    return StateError(f"{path}: {error}")


_MARK = 0x46650000
"""`application_id` is this plus the layout: a flipped bit in either number is seen."""


def _examine(connection: sqlite3.Connection, path: Path) -> int:
    """Look through all pages and make sure that they can be written; returns the layout, 0 if it is new."""
    try:
        (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        (mark,) = connection.execute("PRAGMA application_id").fetchone()
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        # Some builds overwrite what is deleted with zeros, and so write everything twice: SD cards wear out.
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA user_version={found}")  # a write, of which nothing reaches the disk
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        # SQLite takes damage to a header for a format of the future, which it only reads or not even that.
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


def _migrate(connection: sqlite3.Connection, path: Path, found: int, migrations: Sequence[str]) -> None:
    """Take all missing steps in one transaction: whatever ends it leaves the older program's database."""
    if found == len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    # Another process that was started at the same moment may have done it since we looked.
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
        yield statement  # SQLite says what is wrong with it
