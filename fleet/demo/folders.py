"""A folder for what a run makes: new, or one that an earlier run of the same kind has made."""

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
    """As `empty`; what an earlier run made comes back if what is done in the context fails.

    Args:
        folder: what `--out` says.
        kind: as of `empty`.
        source: what the run reads, which must not lie in the folder.

    Raises:
        ConfigError: the folder holds something else or the source, or cannot be made.
    """
    place = folder.resolve()
    if is_of(place, kind) and source.resolve().is_relative_to(place):
        raise ConfigError(
            f"--out {folder}: is emptied for what is made, and {source} lies in it: name another"
        )
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
    """Make the folder, or empty the one that an earlier run made; anybody else's is left alone.

    Args:
        folder: what `--out` says.
        kind: of the run, as its command is called; a file `.fedge-KIND` marks a folder as ours.

    Returns:
        The folder as a full path.

    Raises:
        ConfigError: it holds something else, or cannot be made.
    """
    mark = f".fedge-{kind}"
    try:
        if folder.exists() and any(folder.iterdir()):
            if not (folder / mark).is_file():
                raise ConfigError(
                    f"--out {folder}: is not empty and not from an earlier {kind}: name another"
                )
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / mark).touch()
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be used: {error.strerror or error}") from None
    return folder.resolve()
