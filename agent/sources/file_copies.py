"""Detects files of a folder that are copies of each other. Programs that synchronise folders make them.

`data.csv` and `data (conflicted copy).csv` hold the same rows up to the conflict. These rows would count
twice, and rows that are held out in one file would be trained on in the other.
"""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from fedge.data.disclosure import public
from fedge.errors import DataError

COMPARED = 100
"""How many of the first rows of two files are compared."""
DIFFERENT = 5
"""How many different rows must be among them. An idle sensor repeats the same row, which proves no copy."""

Beginning = tuple[str, tuple[str, ...], tuple[bytes, ...]]
"""A file's name, its columns, and the text of its first rows."""


def copies(beginnings: Sequence[Beginning]) -> tuple[str, str] | None:
    """Return the names of two files with the same columns and the same first rows; None: there are none."""
    alike: dict[tuple[tuple[str, ...], tuple[bytes, ...]], list[Beginning]] = {}
    for beginning in beginnings:
        name, columns, rows = beginning
        others = alike.setdefault((columns, rows[:DIFFERENT]), [])
        for other, _, theirs in others:
            both = min(len(rows), len(theirs))
            if rows[:both] == theirs[:both] and len(set(rows[:both])) >= DIFFERENT:
                return other, name
        others.append(beginning)
    return None


def beginning(file: Path, columns: Sequence[str], wanted: Sequence[int]) -> Beginning:
    """Read the first rows of a file, at most `COMPARED`. `wanted` has their lines, counted from 1."""
    if not wanted:
        return str(file), tuple(columns), ()
    try:
        with file.open("rb") as text:
            found = list(islice(text, wanted[-1]))
    except OSError:  # it was readable a moment ago; the next read reports the error
        return str(file), tuple(columns), ()
    return str(file), tuple(columns), tuple(found[line - 1].strip() for line in wanted if line <= len(found))


def refuse_copies(beginnings: Sequence[Beginning]) -> None:
    """Check that no two files begin with the same rows.

    Raises:
        DataError: two files do; the text names both.
    """
    if len(beginnings) > 1 and (found := copies(beginnings)) is not None:
        raise DataError(
            f"{found[0]} and {found[1]} begin with the same rows: one is a copy of the other, and their rows "
            "would count twice; move one out of the folder",
            public("two files of the folder begin with the same rows"),
        )
