"""Resolve a path for root, name by name: follow only links of root in folders of root.

For other users the system resolves paths as usual.
"""

import errno
import os
import pwd
import stat
from contextlib import suppress
from pathlib import Path

ROOT = 0
_AS_A_PLACE = os.O_PATH | os.O_CLOEXEC
LONGEST_CHAIN = 40
"""The largest number of links that are followed on one path, as in the kernel."""


class Misplaced(OSError):  # noqa: N818 (a state of the disk)
    """An entry that a service's user may have placed to mislead root; the text says what to do."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.ELOOP, f"{what}; find out who put it there, and move it away")


def walk(path: Path, make: int | None) -> int:
    """The descriptor of a folder, to open entries by; it cannot be read itself."""
    if os.geteuid() != ROOT:
        if make is not None:
            path.mkdir(parents=True, exist_ok=True, mode=make)
        return os.open(path, _AS_A_PLACE | os.O_DIRECTORY)
    names, links = list(reversed(path.parts)), 0
    here = os.open(".", _AS_A_PLACE)
    try:
        while names:
            name = names.pop()
            there = _enter(here, name, make if make is None or not names else 0o777)
            found = os.fstat(there)
            if stat.S_ISLNK(found.st_mode):
                try:
                    judge(here, name, found)
                    names += reversed(Path(os.readlink("", dir_fd=there)).parts)
                finally:
                    os.close(there)
                links += 1
                if links > LONGEST_CHAIN:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                continue
            os.close(here)
            here = there
            if not stat.S_ISDIR(found.st_mode):
                number = (
                    errno.ENOTDIR if make is None or names else errno.EEXIST
                )  # the error that the system would give
                raise OSError(number, os.strerror(number))
    except BaseException:
        os.close(here)
        raise
    return here


def _enter(here: int, name: str, make: int | None) -> int:
    flags = _AS_A_PLACE | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=here)
    except FileNotFoundError:
        if make is None:
            raise
    with suppress(FileExistsError):
        os.mkdir(name, make, dir_fd=here)
    return os.open(name, flags, dir_fd=here)


def judge(here: int, name: str, found: os.stat_result) -> None:
    """Make sure that a link is root's and in a folder of root's, before root follows it."""
    owners = {found.st_uid, os.fstat(here).st_uid} - {ROOT}
    if os.geteuid() == ROOT and owners:
        raise Misplaced(f"{name} is a link of {_name(owners.pop())}, which root does not follow")


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
