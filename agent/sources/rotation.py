"""Logs that were rotated: `data.csv`, `data.csv.1`, `data.csv.2.gz`, or `data.csv-20260501`.

`[data] files` chooses among a folder's files by a pattern. Files of one log are one recording. The oldest
comes first: the one with the highest number, or with the earliest date. The one without a number or date is
the newest, because the logger still writes to it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from fedge.data.disclosure import listing, public
from fedge.errors import DataError

PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip"})
"""Endings of compressed files, which are not read."""
_NUMBER = re.compile(r"(.+)\.(\d{1,4})")
_DATE = re.compile(r"(.+?)[-._](\d{4}-?\d{2}-?\d{2}(?:[-_T]?\d{2}[-:_\d]*)?)")


def log_of(file: Path) -> Path:
    """Return the name of a file before it was rotated.

    >>> [str(log_of(Path(name))) for name in ("logs/data.csv.2", "data.csv-20260501", "7.csv")]
    ['logs/data.csv', 'data.csv', '7.csv']
    """
    return file.with_name(_age(file)[0])


def oldest_first(files: Iterable[Path]) -> list[Path]:
    """Sort files by the names of their logs, and those of one log by age.

    >>> [file.name for file in oldest_first(map(Path, ["a.csv", "a.csv.1", "a.csv.10", "a.csv.2"]))]
    ['a.csv.10', 'a.csv.2', 'a.csv.1', 'a.csv']
    """
    return sorted(files, key=lambda file: (*_age(file), file.name))


def matching(folder: Path, inside: Iterable[Path], pattern: str) -> list[Path]:
    """Return a folder's files that match a pattern, without compressed ones, the oldest of each log first.

    Raises:
        DataError: the pattern matches no file that can be read; the text says what is there instead.
    """
    shown = [file for file in inside if file.is_file()]
    named = [file for file in shown if fnmatchcase(file.name, pattern)]
    if files := oldest_first(file for file in named if file.suffix.lower() not in PACKED):
        return files
    if named:
        told = public("[data] files names compressed files only")
        raise DataError(f"{folder}: {told} ({listing([file.name for file in named])}); unpack them", told)
    told = public("[data] files names no file of the folder")
    there = f"it holds {listing([file.name for file in shown])}" if shown else "it holds no file"
    raise DataError(f"{folder}: {told}: {pattern!r}; {there}", told)


@dataclass(frozen=True)
class Beside:
    """The names of files that lie beside those that are read."""

    others: tuple[str, ...] = ()
    """All other files of a folder; beside a single file only those of `older`."""
    older: tuple[str, ...] = ()
    """The files that may belong to the data: those of the same logs, and compressed ones that `[data] files`
    matches."""
    log: str = ""
    """The log of the first file in `older`."""


NOTHING_BESIDE = Beside()


def beside(path: Path, read: Iterable[Path], pattern: str | None) -> Beside:
    """Find the files that are not read. If the folder cannot be listed, the next read reports that."""
    taken = set(read)
    logs = {log_of(file) for file in taken}
    try:
        inside = [file for file in (path if path.is_dir() else path.parent).iterdir() if file.is_file()]
    except OSError:
        return NOTHING_BESIDE
    others = oldest_first(file for file in inside if file not in taken and not file.name.startswith("."))
    older = [
        file
        for file in others
        if _unpacked(file) not in taken
        and (log_of(_unpacked(file)) in logs or (pattern is not None and fnmatchcase(file.name, pattern)))
    ]
    return Beside(
        tuple(file.name for file in (others if path.is_dir() else older)),
        tuple(file.name for file in older),
        log_of(_unpacked(older[0])).name if older else "",
    )


def _unpacked(file: Path) -> Path:
    return file.with_suffix("") if file.suffix.lower() in PACKED else file


def _age(file: Path) -> tuple[str, int, int, str]:
    """Return the log of a file, followed by the sort key of its age."""
    name = _unpacked(file).name
    if found := _NUMBER.fullmatch(name):
        return found[1], 0, -int(found[2]), ""
    if found := _DATE.fullmatch(name):
        return found[1], 0, 0, found[2]
    return name, 1, 0, ""
