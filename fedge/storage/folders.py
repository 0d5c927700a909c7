"""Folders held by a descriptor: how root works where a service's user may have put links in its way.

A file is written under a drawn name, gets owner and mode by its descriptor, and its place by one rename. So
nothing outside the folder is written, given away or read. Whoever else runs the program can lose only what is
theirs: for them the system resolves a path as ever (`fedge.storage.paths`).
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
    """An open folder; every name is one of those in it, and no link of such a name is followed.

    Raises:
        OSError: from any method; `Misplaced` where a service's user may be at work.
    """

    path: Path
    """As it was named, for messages."""
    descriptor: int

    @property
    def owner(self) -> tuple[int, int]:
        """Its user and group."""
        found = os.fstat(self.descriptor)
        return found.st_uid, found.st_gid

    @property
    def is_shared(self) -> bool:
        """Whether anybody but who runs this program, and root, may put something here."""
        found = os.fstat(self.descriptor)
        return found.st_uid not in (ROOT, os.geteuid()) or bool(found.st_mode & _FOREIGN)

    def find(self, name: str) -> os.stat_result | None:
        """What lies under a name, be it a link; None: nothing."""
        try:
            return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @contextmanager
    def file(self, name: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> Iterator[int]:
        """The descriptor of a regular file or a folder in here; for root, of one that was not linked here.

        A pipe does not block. `O_TRUNC` has no place in `flags`: what was opened is examined first.
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
        """Make sure that a file is no link, pipe or device, and no one else's that was linked here."""
        if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            kind = "a link" if stat.S_ISLNK(found.st_mode) else "neither a file nor a folder"
            raise Misplaced(f"{name} is {kind}, which is not followed")
        second = stat.S_ISREG(found.st_mode) and found.st_nlink > 1
        if second and os.geteuid() == ROOT and self.is_shared and found.st_uid != self.owner[0]:
            raise Misplaced(f"{name} is also a file elsewhere (a hard link), and not its folder's owner's")

    def give(self, name: str, user: int, group: int) -> None:
        """Change whose a file or folder is (-1: as it is); a link stays whose it is."""
        found = self.find(name)
        if found is None or stat.S_ISLNK(found.st_mode):
            return
        with self.file(name) as descriptor:
            try:
                os.fchown(descriptor, user, group)
            except OSError:
                found = os.fstat(descriptor)
                if user not in (found.st_uid, -1) or group not in (found.st_gid, -1):
                    raise  # else it is right, and an owner that root of this container cannot name

    def permit(self, name: str, mode: int) -> None:
        """Set the permissions of a file or folder."""
        with self.file(name) as descriptor:
            os.fchmod(descriptor, mode)

    @contextmanager
    def new(
        self, name: str, mode: int, *, exact: bool = False, owner: tuple[int, int] | None = None
    ) -> Iterator[tuple[str, BinaryIO]]:
        """A new file to be written, under a name of its own, which is gone in the end unless it was moved.

        The name is drawn. What a power cut left of earlier ones goes first.

        Args:
            name: that it will get.
            mode: its permissions, of which the process's mask is taken away unless they are `exact`.
            exact: see `mode`.
            owner: for root.
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
        """A new file that is locked for as long as it is open, so that nobody sweeps it away."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        while True:
            temporary = f".{name}.{secrets.token_hex(8)}.new"
            descriptor = os.open(temporary, flags, mode, dir_fd=self.descriptor)
            with suppress(OSError):  # on a disk that knows no locks nobody can sweep either
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            found = self.find(temporary)
            if found is not None and found.st_ino == os.fstat(descriptor).st_ino:
                return temporary, descriptor
            os.close(descriptor)  # swept away in the moment before it was locked

    def _sweep(self, name: str) -> None:
        """Remove what cut-off runs left of a file, where nobody else can have put it."""
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
        """What lies in it."""
        with self._readable() as descriptor:
            return os.listdir(descriptor)  # noqa: PTH208 (of a descriptor)

    def link(self, name: str, other: str) -> None:
        """Give a file a second name, which must be free."""
        os.link(name, other, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor, follow_symlinks=False)

    @contextmanager
    def pin(self, name: str) -> Iterator[int]:
        """A descriptor that stands for a file and does not open it, so that no lock on it ends with this."""
        descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.descriptor)
        try:
            self.examine(name, os.fstat(descriptor))
            yield descriptor
        finally:
            os.close(descriptor)

    def rename(self, name: str, other: str) -> None:
        """Move what lies under a name to another one; what lay there is replaced, a link itself too."""
        os.rename(name, other, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def point(self, name: str, target: Path) -> None:
        """Make a symbolic link of our own, or turn the one that is there, in one step."""
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
    """Let what root opened in a folder be its owner's, who has to work with it."""
    if os.geteuid() == ROOT:
        with suppress(OSError):  # in a container without that right, or without that user
            os.fchown(descriptor, *folder.owner)


@contextmanager
def opened(path: Path, *, make: int | None = None) -> Iterator[Folder]:
    """Hold a folder; with `make`, a mode, it and those above it are made where they are not there.

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
    """The folder that a file to be read lies in, and its name there, where links that may be followed are."""
    for _ in range(LONGEST_CHAIN):
        with opened(path.parent) as folder:
            found = folder.find(path.name)
            if found is None or not stat.S_ISLNK(found.st_mode):
                yield folder, path.name
                return
            judge(folder.descriptor, path.name, found)
            path = path.parent / os.readlink(path.name, dir_fd=folder.descriptor)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
