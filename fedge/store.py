"""What "durable" means here: SQLite in WAL mode with synchronous=FULL, and files that change as a whole.

After `atomic_write` returns, or a transaction of `open_database` has committed, a power cut finds the new
state; before, the old one; never a mixture.
"""

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from fedge.errors import DamagedState, GaveWay, StateError
from fedge.files import written
from fedge.folders import Folder, adopt, opened
from fedge.pinning import pinned


def atomic_write(
    path: Path,
    data: bytes | memoryview,
    *,
    mode: int = 0o644,
    exact: bool = False,
    owner: tuple[int, int] | None = None,
) -> None:
    """Replace the file by `data`: temporary file, fsync, rename, fsync of the folder.

    A link in its place is replaced itself, and never written through (`fedge.folders`).

    Args:
        path: the file; it need not be there.
        data: its whole new content.
        mode: its permissions, of which the process's mask is taken away.
        exact: they are just these, whatever the mask.
        owner: user and group id, for root who writes somebody else's file; without it the writer's own.

    Raises:
        StateError: the disk is full, read-only or failing; the old file is untouched.
    """
    with written(path, mode=mode, exact=exact, owner=owner) as file:
        file.write(data)


def remove(path: Path) -> None:
    """Delete a file that may already be gone, durably.

    Raises:
        StateError: the disk is read-only or failing.
    """
    try:
        with opened(path.parent) as folder:
            if folder.unlink(path.name):
                folder.sync()
    except FileNotFoundError:
        pass  # with its folder
    except OSError as error:
        raise StateError(f"{path}: cannot be removed: {error.strerror or error}") from error


def make_folder(folder: Path, *, mode: int = 0o700) -> Path:
    """Create a folder that, by default, only its owner reads.

    Raises:
        StateError: it cannot be made or written to; the text says so before anything is lost.
    """
    try:
        with opened(folder, make=mode):
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, "not writable by this user")
    except OSError as error:
        raise StateError(f"{folder}: this folder cannot be used: {error.strerror or error}") from error
    return folder


def give_to_owner(folder: Path, *files: Path) -> None:
    """Let the owner of a folder own these files in it: root has worked there in the place of a service.

    Raises:
        StateError: one of them is not a file of this folder alone.
    """
    if os.geteuid() != 0:
        return
    try:
        with opened(folder) as held:
            for file in files:
                held.give(file.name, *held.owner)
    except OSError as error:
        raise StateError(f"{folder}: cannot be given to its owner: {error.strerror}") from error


def move(path: Path, to: Path) -> None:
    """Rename a file within its folder, durably; what lay there is replaced.

    Raises:
        StateError: the disk is read-only or failing.
    """
    try:
        with opened(path.parent) as folder:
            folder.rename(path.name, to.name)
            folder.sync()
    except OSError as error:
        raise StateError(f"{to}: cannot be put in its place: {error.strerror}") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in here with the same folder.

    Raises:
        StateError: the folder cannot be read.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateError(f"{folder}: cannot be read: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
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
        with opened(folder) as held:
            descriptor = _open_lock(held, path.name)
    except OSError as error:
        raise StateError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        _take(descriptor)
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


def _take(descriptor: int) -> None:
    """Lock it; who only looks whether it is locked (`is_locked`) is waited for."""
    deadline_s = time.monotonic() + LONGEST_LOOK_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(LOOK_AGAIN_S)


def is_locked(folder: Path) -> bool | None:
    """Whether a process works with a state folder (`lock`); None: this user may not know."""
    try:
        with opened(folder) as held, held.file("lock") as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go when it is closed, at once
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


@contextmanager
def waiting_lock(path: Path, patience_s: float) -> Iterator[int]:
    """Hold a lock that others hold for moments, and wait for it so long; yields the locked file's descriptor.

    Raises:
        GaveWay: somebody holds it all that time.
        StateError: the disk is full, read-only or failing, or knows no locks.
    """
    try:
        with opened(path.parent) as held:
            descriptor = _open_lock(held, path.name)
    except OSError as error:
        raise StateError(f"{path}: cannot be opened: {error.strerror}") from error
    try:
        deadline_s = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    raise GaveWay(f"{path}: another process has held this for {patience_s:.0f} s") from None
                time.sleep(LOOK_AGAIN_S)
            except OSError as error:
                raise StateError(f"{path}: cannot be locked: {error.strerror}") from error
        yield descriptor
    finally:
        os.close(descriptor)


LONGEST_LOOK_S = 0.2
"""For so long who only looks at a lock may keep others from it: a moment, on a machine that is busy."""
LOOK_AGAIN_S = 0.02
"""How often a lock that somebody holds is asked for: the system can wait for it, but not for so long."""


def _open_lock(folder: Folder, name: str) -> int:
    """The file that is locked, which is the folder's owner's also if root makes it."""
    with folder.file(name, os.O_RDWR | os.O_CREAT) as descriptor:
        adopt(folder, descriptor)
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 0)  # which holds the same lock


def quarantine(path: Path) -> Path:
    """Put a damaged file aside under the next free name `*.quarantine-N`, with its WAL if it is a database.

    Returns:
        Where it lies now, for whoever wants to look at it or to restore it.

    Raises:
        StateError: the disk is read-only or failing.
    """
    try:
        with opened(path.parent) as folder:
            number = 1
            while folder.find(aside := f"{path.name}.quarantine-{number}") is not None:
                number += 1
            # The WAL goes first: left alone beside a new database it would be played into that one.
            for suffix in ("-wal", "-shm", ""):
                if folder.find(path.name + suffix) is not None:
                    folder.rename(path.name + suffix, aside + suffix)
            folder.sync()
    except OSError as error:
        raise StateError(f"{path}: cannot be put aside: {error.strerror or error}") from error
    return path.with_name(aside)


READ_TEXT = partial(str, encoding="utf-8", errors="replace")
"""How text is read: a flipped bit shows in what it means, and is no error of the database."""


def open_database(path: Path, migrations: Sequence[str], *, patience_s: float = 5.0) -> sqlite3.Connection:
    """Open or create a database; transactions begin with an explicit BEGIN and end durably.

    Args:
        path: the file; its WAL lies beside it.
        migrations: scripts of SQL statements; the n-th, counted from 0, turns layout n into layout n + 1.
            Those that are missing are one transaction: a power cut leaves the layout that was there.
        patience_s: how long another process's transaction is waited for, now and later.

    Raises:
        DamagedState: the file is no database of ours, or its pages do not hold together.
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
    """Let a database be its owner's alone before it is opened; it is made if it is not there.

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
    """A database that is there, in which every attempt to change something fails.

    Raises:
        sqlite3.Error: it cannot be opened.
        StateError: it is not a file of its folder.
    """
    with pinned(path, make=False) as address:
        connection = sqlite3.connect(address, uri=True)
    connection.text_factory = READ_TEXT
    return connection


def exists(path: Path) -> bool:
    """Whether a file or folder is there.

    Raises:
        StateError: the folder it lies in is closed to this user.
    """
    try:
        return path.exists()
    except OSError as error:
        raise StateError(f"{path}: cannot be looked at: {error.strerror or error}") from None


def wipe(path: Path, db: sqlite3.Connection) -> None:
    """Write a database's whole file anew, so that what was removed is nowhere in it; not in a transaction.

    Raises:
        sqlite3.Error: it cannot be written: a second copy of it finds no room, or somebody else writes.
        StateError: somebody reads it, so that its write-ahead log, which has all of it, could not be emptied.
    """
    db.execute("VACUUM")
    busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StateError(
            f"{path}: what was removed is still in its write-ahead log, as somebody reads it: end that, a "
            "backup or a program that shows it, and run this again"
        )


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


@contextmanager
def transaction(
    connection: sqlite3.Connection, path: Path, *, begin: str = "BEGIN IMMEDIATE"
) -> Iterator[None]:
    """All or nothing, and durable when it ends.

    Args:
        connection: as `open_database` makes it.
        path: its file, for messages.
        begin: "BEGIN" takes no lock before something is written, for a database that nobody else writes.

    Raises:
        DamagedState: the file is damaged.
        StateError: the disk is full, read-only or failing, or the database busy. Nothing has changed then,
            nor if anything else is raised inside.
    """
    try:
        connection.execute(begin)
        yield
        connection.execute("COMMIT")
    except BaseException as error:
        with suppress(sqlite3.Error):  # what failed first is told
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error):
            raise database_error(path, error) from error
        raise


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
