"""Locks: one process at a time works with a folder, or with a file in it."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedge.errors import Conflict, StateError
from fedge.storage.folders import Folder, adopt, opened


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process is in such a block with the same folder.

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
        Conflict: another process holds it.
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
        with suppress(OSError):  # on a full disk the lock holds without the process id
            os.write(descriptor, str(os.getpid()).encode())
    except BlockingIOError:
        holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise Conflict(f"{folder}: process {holder} already works with this state folder") from None
    except OSError as error:
        os.close(descriptor)
        raise StateError(f"{path}: cannot be locked: {error.strerror}") from error
    return descriptor


def _take(descriptor: int) -> None:
    """Lock it; wait for a process that only checks whether it is locked (`is_locked`)."""
    deadline_s = time.monotonic() + LONGEST_LOOK_S
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise
            time.sleep(LOOK_AGAIN_S)


def is_locked(folder: Path) -> bool | None:
    """Whether a process works with a state folder (`lock`); None: this user may not find out."""
    try:
        with opened(folder) as held, held.file("lock") as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # released at once, when it is closed
    except (FileNotFoundError, NotADirectoryError):
        return False
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


@contextmanager
def waiting_lock(path: Path, patience_s: float) -> Iterator[int]:
    """Hold a lock that others hold only briefly; wait for it at most `patience_s` seconds. Yields its
    descriptor.

    Raises:
        Conflict: another process held it all that time.
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
                    raise Conflict(f"{path}: another process has held this for {patience_s:.0f} s") from None
                time.sleep(LOOK_AGAIN_S)
            except OSError as error:
                raise StateError(f"{path}: cannot be locked: {error.strerror}") from error
        yield descriptor
    finally:
        os.close(descriptor)


LONGEST_LOOK_S = 0.2
"""How long a process that only checks a lock may block others, on a busy machine."""
LOOK_AGAIN_S = 0.02
"""The pause between two tries of a held lock: the system cannot wait for it with a limit."""


def _open_lock(folder: Folder, name: str) -> int:
    """Open the file that is locked; it belongs to the owner of the folder, also if root creates it."""
    with folder.file(name, os.O_RDWR | os.O_CREAT) as descriptor:
        adopt(folder, descriptor)
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 0)  # it holds the same lock
