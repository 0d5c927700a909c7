"""Files by their paths, with the checks of `fedge.storage.folders`: every write by root goes through here.

`tests/test_writes_by_root.py` checks that no other module of the programs writes, or says why one may.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fedge.errors import StateError
from fedge.storage.folders import located, opened


@contextmanager
def written(
    path: Path, *, mode: int, exact: bool = False, owner: tuple[int, int] | None = None
) -> Iterator[BinaryIO]:
    """A file to write to; if the block ends without an error, it is put in place as by `atomic_write`.

    Raises:
        StateError: as `atomic_write`.
    """
    try:
        with opened(path.parent) as folder:
            with folder.new(path.name, mode, exact=exact, owner=owner) as (temporary, file):
                yield file
                file.flush()
                os.fsync(file.fileno())
                folder.rename(temporary, path.name)
            folder.sync()
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror or error}") from error


def create(path: Path, data: bytes, *, mode: int) -> bool:
    """Write a new file completely and durably; an existing file or link stays as it is.

    Returns:
        Whether it was written.

    Raises:
        StateError: the disk is full, read-only or failing.
    """
    try:
        with opened(path.parent) as folder:
            if folder.find(path.name) is not None:
                return False
            with folder.new(path.name, mode, exact=True) as (temporary, file):
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                try:
                    folder.link(temporary, path.name)
                except FileExistsError:
                    return False
            folder.sync()
    except OSError as error:
        raise StateError(f"{path}: cannot be written: {error.strerror or error}") from error
    return True


def read_file(path: Path, most: int = -1) -> bytes:
    """The content of a file; root does not follow a link that a service's user may have made.

    Args:
        path: the file.
        most: the largest number of bytes to read; -1: all.

    Raises:
        OSError: it is not there, or cannot or may not be read.
    """
    with reading(path) as file:
        return file.read(most)


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """A file to read from, as `read_file` reads it.

    Raises:
        OSError: as `read_file`.
    """
    if os.geteuid() != 0:  # other users can read only what is theirs
        with path.open("rb") as file:
            yield file
        return
    with (
        located(path) as (folder, name),
        folder.file(name) as descriptor,
        open(descriptor, "rb", closefd=False) as file,
    ):
        yield file


def describe_file(path: Path) -> os.stat_result:
    """The status (owner, mode, …) of a file that is no link, for a caller that replaces it.

    Raises:
        StateError: it is not there, or is a link.
    """
    try:
        with opened(path.parent) as folder:
            found = folder.find(path.name)
            if found is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            folder.examine(path.name, found)
            return found
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error


def give(path: Path, user: int, group: int) -> None:
    """Change the owner of a file or folder (-1: keep it); the owner of a link does not change.

    Raises:
        OSError: it cannot be done.
    """
    with opened(path.parent) as folder:
        folder.give(path.name, user, group)


def permit(path: Path, mode: int) -> None:
    """Set the permissions of a file or folder.

    Raises:
        OSError: it is not there, is a link, or is somebody else's.
    """
    with opened(path.parent) as folder:
        folder.permit(path.name, mode)


def hand_over(path: Path, user: int, group: int, *, all_in_it: bool = True, mode: int | None = None) -> None:
    """Give a folder and its direct entries to a user or a group (-1: keep it), except links.

    Raises:
        OSError: it cannot be done.
    """
    with opened(path) as folder:
        for name in folder.names() if all_in_it else ():
            folder.give(name, user, group)
        folder.give(".", user, group)
        if mode is not None:
            folder.permit(".", mode)


def point(link: Path, target: Path) -> None:
    """Make a symbolic link, or redirect an existing one, in one step.

    Raises:
        OSError: it cannot be made.
    """
    with opened(link.parent) as folder:
        folder.point(link.name, target)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable (renames, new files, deletions).

    Raises:
        OSError: the disk is failing.
    """
    with opened(path) as folder:
        folder.sync()
