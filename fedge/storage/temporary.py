"""Temporary folders that are removed when a program ends by an exception, SIGINT or SIGTERM."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from fedge.service.termination import terminable, uninterrupted


@contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a new folder that only this user may enter, and remove it with its contents after the block.

    SIGTERM removes it too in the main thread, unless the program ignores SIGTERM. SIGKILL leaves it behind.

    Args:
        prefix: how its name begins.
        parent: the folder to make it in; None: the system's folder for temporary files.
    """
    made: list[TemporaryDirectory[str]] = []
    with terminable():
        try:
            with uninterrupted():
                made.append(TemporaryDirectory(prefix=prefix, dir=parent))
            yield Path(made[0].name)
        finally:
            with uninterrupted():
                for folder in made:
                    folder.cleanup()


def remove_left(prefix: str, parent: Path | None = None) -> None:
    """Remove the folders that a process has left behind. It has been killed, or is about to end.

    Args:
        prefix: how their names begin: that of `temporary_folder`.
        parent: the folder that they are in; None: the system's folder for temporary files.
    """
    for folder in (parent or Path(gettempdir())).iterdir():
        if folder.name.startswith(prefix):
            shutil.rmtree(folder, ignore_errors=True)
