"""Let root open a database safely where a service's user may have placed links."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fedge.errors import StateError
from fedge.storage.folders import adopt, located
from fedge.storage.paths import Misplaced

MOST_LOOKED_AT = 4_096
"""The number of descriptors to check if they cannot be listed."""


@contextmanager
def pinned(path: Path, *, make: bool) -> Iterator[str]:
    """While root opens a database with SQLite: make sure that it opens this file, and nothing through a link.

    SQLite follows a link in the place of the database, and creates the file that it points at; it follows no
    link beside the database. So a new file is created first, and afterwards this checks which file was
    opened. It checks that in folders of root too, because a folder of root may lie in a folder of a service
    and be exchanged meanwhile.

    Yields:
        The URI for SQLite to open; it does not let SQLite create a file.

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
                # SQLite reuses a descriptor of this file that it has not closed yet.
                found = folder.find(name)
                kept = before > 1 and found is not None and os.path.samestat(found, os.fstat(place))
                if _times_open(place) == before and not kept:
                    raise Misplaced(f"{name} was replaced by a link meanwhile")
    except OSError as error:
        raise StateError(f"{path}: cannot be opened: {error.strerror}") from error


def _times_open(place: int) -> int:
    """How many descriptors of this process, including this one, refer to the same file."""
    this, count = os.fstat(place), 0
    try:
        numbers: Iterable[int] = map(int, os.listdir("/proc/self/fd"))  # noqa: PTH208 (names are numbers)
    except OSError:  # an image under construction has no /proc; descriptors have the lowest free numbers
        numbers = range(MOST_LOOKED_AT)
    for number in numbers:
        with suppress(OSError):
            found = os.fstat(number)
            count += (found.st_dev, found.st_ino) == (this.st_dev, this.st_ino)
    return count
