"""Databases that root opens where a service's user may have put links: the file that is meant, or none."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedge.errors import StateError
from fedge.storage.folders import adopt, located
from fedge.storage.paths import Misplaced

MOST_LOOKED_AT = 4_096
"""Descriptors, where they are not listed."""


@contextmanager
def pinned(path: Path, *, make: bool) -> Iterator[str]:
    """While root has SQLite open a database: make sure that it opens this one, and nothing by a link.

    SQLite follows a link in the database's place, and makes what it points at; beside the database it follows
    none. So a new file is made before, and afterwards it is looked at which file was opened; in a folder of
    root's too, for one that lies in a folder of a service can be exchanged meanwhile.

    Yields:
        What SQLite is to open, as a URI: root has it make nothing.

    Raises:
        StateError: a service's user may be at work; nothing was changed.
    """
    if str(path) == ":memory:":
        yield str(path)
        return
    address = path.absolute().as_uri()
    if os.geteuid() != 0:
        yield f"{address}?mode={'rwc' if make else 'ro'}"
        return
    try:
        with located(path) as (folder, name):
            if make and folder.find(name) is None:
                with folder.file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL) as descriptor:
                    adopt(folder, descriptor)
            for other in (f"{name}{suffix}" for suffix in ("-wal", "-shm", "-journal")):
                if (found := folder.find(other)) is not None:
                    folder.examine(other, found)
            with folder.pin(name) as place:
                before = _times_open(place)
                yield f"{address}?mode={'rw' if make else 'ro'}"
                # SQLite opens none anew while it still keeps a descriptor of this file that it did not close.
                found = folder.find(name)
                kept = before > 1 and found is not None and os.path.samestat(found, os.fstat(place))
                if _times_open(place) == before and not kept:
                    raise Misplaced(f"{name} was replaced by a link meanwhile")
    except OSError as error:
        raise StateError(f"{path}: cannot be opened: {error.strerror}") from error


def _times_open(place: int) -> int:
    """How often this process has the file open that a descriptor stands for, which is one of them."""
    this, count = os.fstat(place), 0
    try:
        numbers: Iterable[int] = map(int, os.listdir("/proc/self/fd"))  # noqa: PTH208 (names are numbers)
    except OSError:  # an image that is being made has no /proc; the lowest number that is free comes next
        numbers = range(MOST_LOOKED_AT)
    for number in numbers:
        with suppress(OSError):
            found = os.fstat(number)
            count += (found.st_dev, found.st_ino) == (this.st_dev, this.st_ino)
    return count
