"""A folder for what a run makes: new, or one that an earlier run of the same kind has made."""

import shutil
from pathlib import Path

from fedge.errors import ConfigError


def is_of(folder: Path, kind: str) -> bool:
    """Whether a run of this kind has made the folder."""
    return (folder / f".fedge-{kind}").is_file()


def empty(folder: Path, kind: str, source: Path | None = None) -> Path:
    """Make the folder, or empty the one that an earlier run made; anybody else's is left alone.

    Args:
        folder: what `--out` says.
        kind: of the run, as its command is called; a file `.fedge-KIND` marks a folder as ours.
        source: what the run reads, which must not lie in it.

    Returns:
        The folder as a full path.

    Raises:
        ConfigError: it holds something else or the source, or cannot be made.
    """
    mark = f".fedge-{kind}"
    try:
        if folder.exists() and any(folder.iterdir()):
            if not (folder / mark).is_file():
                raise ConfigError(
                    f"--out {folder}: is not empty and not from an earlier {kind}: name another"
                )
            if source is not None and source.resolve().is_relative_to(folder.resolve()):
                raise ConfigError(
                    f"--out {folder}: is emptied for what is made, and {source} lies in it: name another"
                )
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / mark).touch()
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be used: {error.strerror or error}") from None
    return folder.resolve()
