"""Files that are replaced as a whole: after a power cut there is the old or the new one, never a mixture."""

import errno
import os
from pathlib import Path

from fedge.errors import StateError
from fedge.storage.files import written
from fedge.storage.folders import opened
from fedge.storage.segments import SUFFIX


def atomic_write(
    path: Path,
    data: bytes | memoryview,
    *,
    mode: int = 0o644,
    exact: bool = False,
    owner: tuple[int, int] | None = None,
) -> None:
    """Replace the file by `data`: temporary file, fsync, rename, fsync of the folder.

    A link in its place is replaced; nothing is written through it (`fedge.storage.folders`).

    Args:
        path: the file; it need not exist.
        data: its whole new content.
        mode: its permissions, reduced by the process's mask (umask).
        exact: ignore the mask of the process.
        owner: user and group id for a file that root writes for another user; default: those of the process.

    Raises:
        StateError: the disk is full, read-only or failing; the old file is untouched.
    """
    with written(path, mode=mode, exact=exact, owner=owner) as file:
        file.write(data)


def remove(path: Path) -> None:
    """Delete a file durably; it may be gone already.

    Raises:
        StateError: the disk is read-only or failing.
    """
    try:
        with opened(path.parent) as folder:
            if folder.unlink(path.name):
                folder.sync()
    except FileNotFoundError:
        pass  # its folder is gone too
    except OSError as error:
        raise StateError(f"{path}: cannot be removed: {error.strerror or error}") from error


def make_folder(folder: Path, *, mode: int = 0o700) -> Path:
    """Create a folder that, by default, only its owner can read.

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
    """Give these files to the owner of their folder, after root has worked there in the place of a service.

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
    """Rename a file within its folder, durably; an existing file of the new name is replaced.

    Raises:
        StateError: the disk is read-only or failing.
    """
    try:
        with opened(path.parent) as folder:
            folder.rename(path.name, to.name)
            folder.sync()
    except OSError as error:
        raise StateError(f"{to}: cannot be put in its place: {error.strerror}") from error


def quarantine(path: Path) -> Path:
    """Rename a damaged file to the next free name `*.quarantine-N`; a database with its WAL and segments.

    Returns:
        Its new path, for whoever wants to look at it or to restore it.

    Raises:
        StateError: the disk is read-only or failing.
    """
    try:
        with opened(path.parent) as folder:
            # The WAL is moved first: beside a new database it would be replayed into that one.
            found = [
                suffix
                for suffix in ("-wal", "-shm", SUFFIX, "")
                if folder.find(path.name + suffix) is not None
            ]
            number = 1
            while any(
                folder.find(f"{path.name}.quarantine-{number}{suffix}") is not None for suffix in {*found, ""}
            ):
                number += 1  # also where a power cut left only a part of one: nothing in it is replaced
            aside = f"{path.name}.quarantine-{number}"
            for suffix in found:
                folder.rename(path.name + suffix, aside + suffix)
            folder.sync()
    except OSError as error:
        raise StateError(f"{path}: cannot be set aside: {error.strerror or error}") from error
    return path.with_name(aside)


def exists(path: Path) -> bool:
    """Whether a file or folder exists.

    Raises:
        StateError: this user may not look into its folder.
    """
    try:
        return path.exists()
    except OSError as error:
        raise StateError(f"{path}: cannot be looked at: {error.strerror or error}") from None
