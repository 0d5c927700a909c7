"""Write many new files at once: fill a separate folder completely, then move its files to their places."""

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from fedge.errors import StateError
from fedge.storage.folders import opened

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def filled(place: Path, prefix: str, contents: Mapping[str, bytes], *, mode: int) -> Iterator[Path]:
    """Make a new folder in `place` with these files, durably; it is locked in the block, and stays
    afterwards.

    If it cannot be filled, or Ctrl-C comes before that, it is removed.

    Thousands of files cost one fsync each and no search, because in a new folder all names are free.

    Args:
        place: the parent folder.
        prefix: the beginning of the folder's random name.
        contents: the content of each file, by name.
        mode: the files' permissions.

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
                            continue  # another process removed it as a leftover
                        fcntl.flock(descriptor, fcntl.LOCK_EX)
                        found = around.find(path.name)
                        if found is None or found.st_ino != os.fstat(descriptor).st_ino:
                            os.close(descriptor)  # or just before it was locked
                            descriptor = -1
                    for name, content in contents.items():
                        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                        with os.fdopen(os.open(name, flags, mode, dir_fd=descriptor), "wb") as file:
                            file.write(content)
                            file.flush()
                            os.fsync(file.fileno())
                    os.fsync(descriptor)
                    around.sync()
                except BaseException:  # Ctrl-C too: nobody else would remove it
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
    """Yield the folders of `filled` that an interrupted run has left; each is locked while it is yielded.

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
    """Move some files of a folder to another one, replacing files of the same names; remove the rest.

    Files that are missing were moved by another process. The folder is removed too. Durable on return.

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
        pass  # another process has removed it
    except OSError as error:
        raise StateError(f"{folder}: cannot be moved to {to}: {error.strerror or error}") from error
