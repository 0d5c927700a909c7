"""The files of a source: one file, or those of a folder, sorted by name or chosen by a pattern."""

from pathlib import Path

from agent.sources.file_signatures import refuse_foreign
from agent.sources.rotation import matching
from agent.sources.samples import unreadable
from fedge.data.disclosure import public
from fedge.errors import DataError

SUFFIXES = (".csv",)
OTHERS = (".tsv", ".lvm", ".dat", ".jsonl", ".ndjson")
"""The endings of the files that are read from a folder without CSV files."""


def list_files(path: Path, pattern: str | None = None) -> list[Path]:
    """List the file itself, or a folder's *.csv; if it has none, its files with another ending of text files.

    Args:
        path: the file or folder.
        pattern: `[data] files`, which chooses other files of the folder. The oldest file of a rotated log
            comes first.

    Raises:
        DataError: there is no such file or folder, or the folder has no such file. The text says what it
            has instead.
    """
    try:
        if not path.is_dir():
            if pattern is not None and path.exists():
                told = public("[data] files chooses files in a folder, but [data] path is a file")
                raise DataError(f"{path}: {told}; set path = {str(path.parent)!r}", told)
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
