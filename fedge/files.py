"""Files by their paths, with the care of `fedge.folders`: every write by root goes through here.

`tests/test_writes_by_root.py` holds that no other module of the programs writes, or says why one may.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from fedge.errors import StateError
from fedge.folders import located, opened


@contextmanager
def written(
    path: Path, *, mode: int, exact: bool = False, owner: tuple[int, int] | None = None
) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place as `atomic_write` does it, when this ends without an error.

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
    """Write a new file whole and durably; whatever is there already, be it a link, stays as it is.

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
    """A file's content; root reads none that a service's user has linked to where it lies.

    Args:
        path: the file.
        most: how many bytes of it at most; -1: all.

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
    if os.geteuid() != 0:  # who cannot read more than its owner needs no care
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
    """Owner, mode and the like of a file that is no link, for who puts another one in its place.

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
    """Change whose a file or folder is (-1: as it is); a link stays whose it is.

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
    """Give a folder, and what lies directly in it, to a user or a group (-1: as it is); links stay.

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
    """Make a symbolic link, or turn the one that is there, in one step.

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


@contextmanager
def filled(place: Path, prefix: str, contents: Mapping[str, bytes], *, mode: int) -> Iterator[Path]:
    """A new folder in `place` that holds these files, durably; it is locked inside, and stays afterwards.

    If it cannot be filled, or Ctrl-C comes before it is, nothing is left of it.

    Thousands of files cost one fsync each and no search: the folder is new, so their names are free.

    Args:
        place: where.
        prefix: what the drawn name of the folder begins with.
        contents: each file's, by name.
        mode: their permissions.

    Raises:
        StateError: the disk is full, read-only or failing.
    """
    path = place / f"{prefix}{secrets.token_hex(8)}"
    descriptor = -1
    try:
        try:
            with opened(place) as around:
                try:
                    while descriptor < 0:
                        os.mkdir(path.name, 0o700, dir_fd=around.descriptor)
                        try:
                            descriptor = os.open(path.name, _FOLDER, dir_fd=around.descriptor)
                        except FileNotFoundError:
                            continue  # swept away already, as that of a run that was cut off
                        fcntl.flock(descriptor, fcntl.LOCK_EX)
                        found = around.find(path.name)
                        if found is None or found.st_ino != os.fstat(descriptor).st_ino:
                            os.close(descriptor)  # or in the moment before it was locked
                            descriptor = -1
                    for name, content in contents.items():
                        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                        with os.fdopen(os.open(name, flags, mode, dir_fd=descriptor), "wb") as file:
                            file.write(content)
                            file.flush()
                            os.fsync(file.fileno())
                    os.fsync(descriptor)
                    around.sync()
                except BaseException:  # Ctrl-C too: nobody would come to clear it
                    with suppress(OSError):
                        for name in contents if descriptor >= 0 else ():
                            with suppress(FileNotFoundError):
                                os.unlink(name, dir_fd=descriptor)
                        os.rmdir(path.name, dir_fd=around.descriptor)
                    raise
        except OSError as error:
            raise StateError(f"{path}: cannot be written: {error.strerror or error}") from error
        yield path
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def left_behind(place: Path, prefix: str) -> Iterator[Path]:
    """The folders of `filled` that nobody works with, as a run was cut off; each is locked while it is told.

    Raises:
        StateError: they cannot be looked at.
    """
    try:
        with opened(place) as around:
            names = sorted(name for name in around.names() if name.startswith(prefix))
            for name in names:
                try:
                    descriptor = os.open(name, _FOLDER, dir_fd=around.descriptor)
                except FileNotFoundError:
                    continue
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    yield place / name
                except BlockingIOError:
                    pass
                finally:
                    os.close(descriptor)
    except OSError as error:
        raise StateError(f"{place}: cannot be read: {error.strerror or error}") from error


def move_out(folder: Path, names: Iterable[str], to: Path) -> None:
    """Move some files of a folder into another one, replacing what has their names there; remove the rest.

    Files that are gone were moved by somebody else; the folder goes too. Durable when it returns.

    Raises:
        StateError: the disk is read-only or failing.
    """
    wanted = set(names)
    try:
        with opened(folder) as source, opened(to) as target:
            for name in source.names():
                with suppress(FileNotFoundError):
                    if name in wanted:
                        os.rename(name, name, src_dir_fd=source.descriptor, dst_dir_fd=target.descriptor)
                    else:
                        source.unlink(name)
            target.sync()
        with opened(folder.parent) as around:
            os.rmdir(folder.name, dir_fd=around.descriptor)
            around.sync()
    except FileNotFoundError:
        pass  # somebody else has cleared it
    except OSError as error:
        raise StateError(f"{folder}: cannot be moved to {to}: {error.strerror or error}") from error


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
