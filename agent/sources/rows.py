"""The rows of one CSV file, as text, each with its line."""

import csv
import io
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from agent.sources.samples import unreadable
from fedge.disclosure import public
from fedge.errors import DataError

Row = tuple[int, list[str]]
"""The line that it begins in, counted from 1, and its cells."""


def read_rows(file: Path, growing: bool, names: tuple[str, ...] | None = None) -> Iterator[Row]:
    """The header and the rows, each with the line it begins in.

    Args:
        file: in UTF-8.
        growing: whether a last line without its end is still being written, and waits.
        names: of the columns, where the file has no header; all rows are as long as the header, or as these.

    Raises:
        DataError: it cannot be read, is not CSV, or a line is shorter or longer.
    """
    data = _data(file, growing)
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True, skipinitialspace=True)
    columns = len(names or ())
    whose = public("the header has") if names is None else public("[data] columns names")
    advice = "complete or delete the line" if names is None else "name every column, or complete the line"
    line = 1
    try:
        for row in reader:
            if row and (row != [""] or columns == 1):
                columns = columns or len(row)
                if len(row) != columns:
                    told = public(
                        "line {line}: has {cells} cells, {whose} {columns} columns",
                        line=line,
                        cells=len(row),
                        whose=whose,
                        columns=columns,
                    )
                    raise DataError(f"{file}: {told}; {advice}", told)
                yield line, row
            line = reader.line_num + 1
    except UnicodeDecodeError:
        line = _undecodable(data)
        told = public("line {line}: not UTF-8", line=line)
        raise DataError(f"{file}: {told}; save the file as CSV in UTF-8", told) from None
    except csv.Error as error:
        hint = "; look for a quote that is not closed" if b'"' in data else ""
        told = public("line {line}: not CSV", line=line)
        raise DataError(f"{file}: {told}: {error}{hint}", told) from None


def _data(file: Path, growing: bool) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise unreadable(file, error) from None
    if growing:
        data = data[: max(data.rfind(b"\n"), data.rfind(b"\r")) + 1]
    return data


def _undecodable(data: bytes) -> int:
    """The line that holds the first byte that is not UTF-8."""
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return data.count(b"\n", 0, error.start) + 1
    return 1


def without_names(file: Path, rows: Iterator[Row], columns: tuple[str, ...]) -> Iterator[Row]:
    """The rows of a file whose columns are named elsewhere: without its first, if that repeats the names."""
    for line, row in islice(rows, 1):
        names = tuple(name.strip() for name in row)
        if names == columns:
            break
        if sorted(names) == sorted(columns):
            raise DataError(
                f"{file}: line {line}: has the names in [data] columns in another order; "
                "name them in this file's, or leave out columns",
                public("line {line}: has the names in [data] columns in another order", line=line),
            )
        yield line, row
    yield from rows
