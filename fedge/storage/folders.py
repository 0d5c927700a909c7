"""Folders held by a descriptor: how root works safely where a service's user may have placed links.

A file is written under a random name, gets owner and mode by its descriptor, and is moved to its place by one
rename. So nothing outside the folder is written, given away or read. Other users can lose only what is
theirs: for them the system resolves paths as usual (`fedge.storage.paths`).
"""

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fedge.storage.paths import LONGEST_CHAIN, ROOT, Misplaced, judge, walk

_FOREIGN = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Folder:
    """An open folder. Names are those of its entries, and links among them are not followed.

    Raises:
        OSError: from any method; `Misplaced` where a service's user may be at work.
    """

    path: Path
    """The path as the caller named it, for messages."""
    descriptor: int

    @property
    def owner(self) -> tuple[int, int]:
        """Its user and group."""
        found = os.fstat(self.descriptor)
        return found.st_uid, found.st_gid

    @property
    def is_shared(self) -> bool:
        """Whether anybody besides root and the user of this program may add entries."""
        found = os.fstat(self.descriptor)
        return found.st_uid not in (ROOT, os.geteuid()) or bool(found.st_mode & _FOREIGN)

    def find(self, name: str) -> os.stat_result | None:
        """The status of an entry, which may be a link; None: there is none."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @contextmanager
    def file(self, name: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> Iterator[int]:
        """Open a regular file or a folder in here; for root, only one that was not hard-linked here.

        A pipe does not block. Do not put `O_TRUNC` into `flags`: the opened file is examined first.
        """
        flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            descriptor = os.open(name, flags, mode, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise Misplaced(f"{name} is a link, which is not followed") from None
            raise
        try:
            self.examine(name, os.fstat(descriptor))
            yield descriptor
        finally:
            os.close(descriptor)

    def examine(self, name: str, found: os.stat_result) -> None:
        """Make sure that a file is no link, pipe or device, and no file of another user that was linked
        here."""
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            kind = "a link" if stat.S_ISLNK(found.st_mode) else "neither a file nor a folder"
            raise Misplaced(f"{name} is {kind}, which is not followed")
        second = stat.S_ISREG(found.st_mode) and found.st_nlink > 1
        if second and os.geteuid() == ROOT and self.is_shared and found.st_uid != self.owner[0]:
            raise Misplaced(
                f"{name} is also a file elsewhere (a hard link), and does not belong to its folder's owner"
            )

    def give(self, name: str, user: int, group: int) -> None:
        """Change the owner of a file or folder (-1: keep it); the owner of a link does not change."""
        found = self.find(name)
        if found is None or stat.S_ISLNK(found.st_mode):
            return
        with self.file(name) as descriptor:
            try:
                os.fchown(descriptor, user, group)
            except OSError:
                found = os.fstat(descriptor)
                if user not in (found.st_uid, -1) or group not in (found.st_gid, -1):
                    raise  # otherwise it has that owner, whom root of this container cannot name

    def permit(self, name: str, mode: int) -> None:
        """Set the permissions of a file or folder."""
        with self.file(name) as descriptor:
            os.fchmod(descriptor, mode)

    @contextmanager
    def new(
        self, name: str, mode: int, *, exact: bool = False, owner: tuple[int, int] | None = None
    ) -> Iterator[tuple[str, BinaryIO]]:
        """A new file under a random name; it is removed in the end unless it was moved.

        Leftovers of earlier ones, as after a power cut, are removed first.

        Args:
            name: its final name.
            mode: its permissions, reduced by the mask of the process unless they are `exact`.
            exact: see `mode`.
            owner: user and group id, for root.
        """
        self._sweep(name)
        temporary, descriptor = self._draw(name, mode)
        try:
            with open(descriptor, "wb") as file:  # noqa: PTH123 (a descriptor, to set the mode at creation)
                if owner is not None and os.geteuid() == ROOT:
                    os.fchown(descriptor, *owner)
                if exact:
                    os.fchmod(descriptor, mode)
                yield temporary, file
        finally:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self.descriptor)

    def _draw(self, name: str, mode: int) -> tuple[str, int]:
        """A new file that is locked while it is open, so that no other process removes it as a leftover."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            temporary = f".{name}.{secrets.token_hex(8)}.new"
            descriptor = os.open(temporary, flags, mode, dir_fd=self.descriptor)
            with suppress(OSError):  # on a disk without locks no leftovers are removed either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            found = self.find(temporary)
            if found is not None and found.st_ino == os.fstat(descriptor).st_ino:
                return temporary, descriptor
            os.close(descriptor)  # another process removed it just before it was locked

    def _sweep(self, name: str) -> None:
        """Remove temporary files that interrupted runs have left, in a folder that nobody else can write
        to."""
        if self.is_shared:
            return
        left = re.compile(rf"\.{re.escape(name)}(\.[0-9a-f]{{16}})?\.new")
        with suppress(OSError):
            for entry in filter(left.fullmatch, self.names()):
                if (found := self.find(entry)) is not None and stat.S_ISLNK(found.st_mode):
                    self.unlink(entry)
                with suppress(OSError), self.file(entry) as descriptor:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry, dir_fd=self.descriptor)

    def names(self) -> list[str]:
        """The names of its entries."""
        with self._readable() as descriptor:
            return os.listdir(descriptor)  # noqa: PTH208 (of a descriptor)

    def link(self, name: str, other: str) -> None:
        """Give a file a second name, which must be free."""
        os.link(name, other, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor, follow_symlinks=False)

    @contextmanager
    def pin(self, name: str) -> Iterator[int]:
        """A descriptor that refers to a file without opening it, so that closing it releases no lock."""
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            self.examine(name, os.fstat(descriptor))
            yield descriptor
        finally:
            os.close(descriptor)

    def rename(self, name: str, other: str) -> None:
        """Rename an entry; an existing one of the new name is replaced, even if it is a link."""
        os.rename(name, other, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def point(self, name: str, target: Path) -> None:
        """Make a symbolic link, or redirect an existing one, in one step."""
        temporary = f".{name}.{secrets.token_hex(8)}.new"
        os.symlink(target, temporary, dir_fd=self.descriptor)
        try:
            self.rename(temporary, name)
        except OSError:
            self.unlink(temporary)
            raise

    def unlink(self, name: str) -> bool:
        """Remove a file or a link; returns whether there was one."""
        try:
            os.unlink(name, dir_fd=self.descriptor)
        except FileNotFoundError:
            return False
        return True

    def sync(self) -> None:
        """Make the names in it durable (renames, new files, deletions)."""
        with self._readable() as descriptor:
            os.fsync(descriptor)

    @contextmanager
    def _readable(self) -> Iterator[int]:
        descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def adopt(folder: Folder, descriptor: int) -> None:
    """Give a file that root has opened in a folder to the owner of the folder, who works with it."""
    if os.geteuid() == ROOT:
        with suppress(OSError):  # in a container without that right, or without that user
            os.fchown(descriptor, *folder.owner)


@contextmanager
def opened(path: Path, *, make: int | None = None) -> Iterator[Folder]:
    """Open a folder; with `make` (a mode), it and its parents are created if they do not exist.

    Raises:
        OSError: it is not there or may not be entered; `Misplaced`: a link that root does not follow.
    """
    descriptor = walk(path, make)
    try:
        yield Folder(path, descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def located(path: Path) -> Iterator[tuple[Folder, str]]:
    """The folder of a file to read, and its name there, after following the links that may be followed."""
    for _ in range(LONGEST_CHAIN):
        with opened(path.parent) as folder:
            found = folder.find(path.name)
            if found is None or not stat.S_ISLNK(found.st_mode):
                yield folder, path.name
                return
            judge(folder.descriptor, path.name, found)
            path = path.parent / os.readlink(path.name, dir_fd=folder.descriptor)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
