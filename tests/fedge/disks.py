"""A full disk, a folder's files and a small database, for tests of what is durable."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCHEMA = "CREATE TABLE things (name TEXT NOT NULL)"
FIRST = (SCHEMA,)
ADD_COLOUR = "ALTER TABLE things ADD COLUMN colour TEXT"


@contextmanager
def full_disk(room: int = 1_000) -> Iterator[None]:
    """No file may grow beyond `room` bytes: as a full disk, for this process alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}
