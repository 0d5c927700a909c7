"""A folder for the results of a run: a new one, or one of an earlier run of the same kind."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedge.errors import ConfigError


def is_of(folder: Path, kind: str) -> bool:
    """Whether a run of this kind has made the folder."""
    return (folder / f".fedge-{kind}").is_file()


@contextmanager
def anew(folder: Path, kind: str, source: Path) -> Iterator[Path]:
    """As `empty`; the results of an earlier run are restored if the block fails.

    Args:
        folder: the value of `--out`.
        kind: as in `empty`.
        source: the input of the run, which must not be in the folder.

    Raises:
        ConfigError: the folder holds other files or the source, or cannot be made.
    """
    place = folder.resolve()
    if is_of(place, kind) and source.resolve().is_relative_to(place):
        raise ConfigError(f"--out {folder}: contains {source}, and would be emptied: name another folder")
    before = place.with_name(f".{place.name}-before")
    try:
        if is_of(before, kind):  # of a run that was killed
            shutil.rmtree(before)
        if is_of(place, kind):
            place.rename(before)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be used: {error.strerror or error}") from None
    try:
        yield empty(folder, kind)
    except BaseException:
        if is_of(before, kind):
            shutil.rmtree(place, ignore_errors=True)
            before.rename(place)
        raise
    shutil.rmtree(before, ignore_errors=True)


def empty(folder: Path, kind: str) -> Path:
    """Make the folder, or empty one of an earlier run; other folders are left alone.

    Args:
        folder: the value of `--out`.
        kind: the command of the run; a file `.fedge-KIND` marks a folder as ours.

    Returns:
        The folder as a full path.

    Raises:
        ConfigError: it holds other files, or cannot be made.
    """
    mark = f".fedge-{kind}"
    try:
        if folder.exists() and any(folder.iterdir()):
            if not (folder / mark).is_file():
                raise ConfigError(
                    f"--out {folder}: is not empty and not from an earlier {kind}: name another folder"
                )
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / mark).touch()
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be used: {error.strerror or error}") from None
    return folder.resolve()
