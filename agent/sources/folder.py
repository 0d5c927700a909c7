"""The files of a source: one file, or those of a folder, sorted by name or chosen by a pattern."""

from pathlib import Path

from agent.sources.file_signatures import refuse_foreign
from agent.sources.rotation import matching
from agent.sources.samples import unreadable
from fedge.data.disclosure import public
from fedge.errors import DataError

SUFFIXES = (".csv",)
OTHERS = (".tsv", ".lvm", ".dat", ".jsonl", ".ndjson")
"""The kinds of files that are read from a folder without CSVs."""


def list_files(path: Path, pattern: str | None = None) -> list[Path]:
    """The file itself, or a folder's *.csv; without CSVs its files of other kinds of text.

    Args:
        path: the file or folder.
        pattern: `[data] files`: which files of the folder instead; of a rotated log the oldest first.

    Raises:
        DataError: no such file or folder, or it holds none; the text names what it holds instead.
    """
    try:
        if not path.is_dir():
            if pattern is not None and path.exists():
                told = public("[data] files chooses in a folder, and path is a file")
                raise DataError(f"{path}: {told}: say path = {str(path.parent)!r}", told)
            return [path]
        inside = sorted(file for file in path.iterdir() if not file.name.startswith("."))
    except OSError as error:
        raise unreadable(path, error) from None
    if pattern is not None:
        return matching(path, inside, pattern)
    for suffixes in (SUFFIXES, OTHERS):
        if files := [file for file in inside if file.suffix.lower() in suffixes]:
            return files
    for file in inside:
        if file.is_file():
            refuse_foreign(file, _beginning(file), b"")
    told = public("the folder holds no file whose name ends in .csv")
    raise DataError(f"{path}: {told}", told)


def _beginning(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(4_096)
    except OSError:
        return b""
