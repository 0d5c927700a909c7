"""Samples from CSV: one file, or a folder of them that may be growing while it is read."""

from collections.abc import Container, Hashable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.sources.copies import beginning, refuse_copies
from agent.sources.header import looks_like_data, nameless, read_header
from agent.sources.rows import read_rows, without_names
from agent.sources.samples import Fault, Samples, number, unreadable
from fedge.disclosure import Public, listing, public
from fedge.errors import DataError

MISSING = frozenset({"", "-", "?", "na", "n/a", "nan", "none", "null"})
"""Texts that stand for a missing value in a column of numbers, in any case."""

BLOCK = 4_096
"""Rows held as text at a time."""


@dataclass(frozen=True)
class CsvSource:
    """Comma-separated text in UTF-8 with a header line, as RFC 4180 has it; or without, and with `columns`.

    Columns are told apart by their names. A column of text is no error unless the task asks for it. An empty
    line is no row; where there is only one column, "" is a row whose value is missing.
    """

    path: Path
    """A file, or a folder whose *.csv are read in the order of their names."""
    label: str | None = None
    """The column of class names; without such a column there are no answers."""
    series: str | None = None
    """The column naming the recording a row belongs to; None: each file is one."""
    columns: tuple[str, ...] | None = None
    """Names of the columns, in order, of files without a header; one that repeats these names is no row."""
    growing: bool = True
    """Whether a last line without its end is still being written, and waits."""

    def fingerprint(self) -> Hashable:
        """Each file's name, inode, size and time of change."""
        try:
            stats = [(file, file.stat()) for file in self._files()]
        except OSError as error:
            raise unreadable(Path(error.filename or self.path), error) from None
        return tuple((file, stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats)

    def read(self) -> Samples:
        """Read all files. A file without a row as yet adds nothing, as long as another has some.

        Raises:
            DataError: no file, not UTF-8, not CSV, no rows; names the file, the line and the column.
        """
        files = self._files()
        tables = [_parse(file, self.growing, self.columns, {self.label, self.series}) for file in files]
        filled = [table for table in tables if table is not None and len(table.X)]
        if not filled:
            told = (
                public("has no rows yet")
                if self.columns is not None
                else public("has a header but no rows yet")
                if any(tables)
                else public("is empty; it must begin with a header line")
            )
            if len(files) > 1:
                told = public("{told} (nor have {more} more files rows)", told=told, more=len(files) - 1)
            raise DataError(f"{files[0]}: {told}", public("the file {told}", told=told))
        return self._join(filled)

    def first_line(self) -> frozenset[str]:
        """The cells of the first file's first line.

        Raises:
            DataError: no file, not UTF-8, not CSV.
        """
        _, row = next(read_rows(self._files()[0], self.growing), (0, []))
        return frozenset(cell.strip() for cell in row)

    def _files(self) -> list[Path]:
        try:
            if not self.path.is_dir():
                return [self.path]
            files = sorted(
                file
                for file in self.path.iterdir()
                if file.suffix.lower() == ".csv" and not file.name.startswith(".")
            )
        except OSError as error:
            raise unreadable(self.path, error) from None
        if not files:
            told = public("the folder holds no file whose name ends in .csv")
            raise DataError(f"{self.path}: {told}", told)
        return files

    def _join(self, tables: "list[_Table]") -> Samples:
        first = tables[0]
        for table in tables:
            _check_header(table, first)
        refuse_copies([beginning(table.file, table.header, table.lines) for table in tables])
        unnamed = next((table.nameless for table in tables if table.nameless is not None), None)
        if self.series is not None and self.series not in first.header:
            raise unnamed or DataError(
                f"{first.file}: line 1: there is no column {self.series!r}, which [data] series names; "
                f"the columns are {listing(first.header)}",
                public("line 1: there is no column of the name in [data] series"),
            )
        sizes = [len(table.X) for table in tables]
        faults: dict[int, Fault] = {}
        for table in reversed(tables):
            faults |= {first.header.index(name): fault for name, fault in table.faults.items()}
        texts = {name: [text for table in tables for text in table.texts[name]] for name in first.texts}
        return Samples(
            name=str(self.path),
            X=np.concatenate(
                [table.X[:, [table.header.index(name) for name in first.header]] for table in tables]
            )
            if len(tables) > 1
            else first.X,
            columns=first.header,
            y=np.array(texts[self.label]) if self.label in texts else None,
            answer=f"column {self.label!r}",
            series=number(texts[self.series])
            if self.series is not None
            else np.repeat(np.arange(len(tables)), sizes),
            blocks=tuple(zip([str(table.file) for table in tables], sizes, strict=True)),
            lines=np.concatenate([table.lines for table in tables]),
            faults=faults,
            nameless=unnamed,
        )


@dataclass(frozen=True)
class _Table:
    """One file's rows."""

    file: Path
    header: tuple[str, ...]
    X: NDArray[np.float32]
    texts: dict[str, list[str]]
    lines: NDArray[np.int64]
    """The line each row begins in, counted from 1."""
    faults: dict[str, Fault]
    nameless: DataError | None
    """Set where the header looks like data."""


def _parse(
    file: Path, growing: bool, columns: tuple[str, ...] | None, wanted: Container[str | None]
) -> _Table | None:
    """Read one file, with the `wanted` columns as text too; None: it has no complete line."""
    rows = read_rows(file, growing, columns)
    unnamed = None
    if columns is None:
        line, first = next(rows, (0, []))
        header = read_header(file, line, first)
        if not header:
            return None
        if looks_like_data(header):
            unnamed = nameless(file, line)
    else:
        header, rows = columns, without_names(file, rows, columns)
    texts: dict[str, list[str]] = {name: [] for name in header if name in wanted}
    blocks: list[NDArray[np.float32]] = [np.empty((0, len(header)), dtype=np.float32)]
    lines: list[int] = []
    faults: dict[str, Fault] = {}
    while block := list(islice(rows, BLOCK)):  # text takes 15 times the memory of the numbers it stands for
        block_lines = [line for line, _ in block]
        lines += block_lines
        blocks.append(np.empty((len(block), len(header)), dtype=np.float32))
        for j, (name, cells) in enumerate(
            zip(header, zip(*(row for _, row in block), strict=True), strict=True)
        ):
            blocks[-1][:, j], bad = _numbers(cells)
            if bad is not None:
                place = public("line {line}", line=block_lines[bad[0]])
                text = f"{file}: {place}, column {name!r}: {bad[1]}"
                faults.setdefault(name, Fault(text, place, bad[1]))
            if name in texts:
                texts[name] += [cell.strip() for cell in cells]
    numbers = np.array(lines, dtype=np.int64)
    return _Table(file, header, np.concatenate(blocks), texts, numbers, faults, unnamed)


def _check_header(table: _Table, first: _Table) -> None:
    for name, one, other in (
        *((name, table, first) for name in table.header if name not in first.header),
        *((name, first, table) for name in first.header if name not in table.header),
    ):
        raise (
            other.nameless
            or one.nameless
            or DataError(
                f"{other.file}: line 1: there is no column {name!r}, which {one.file} has; "
                "all files of a folder have the same columns",
                public("the files of the folder have different columns"),
            )
        )


def _numbers(cells: Sequence[str]) -> tuple[NDArray[np.float32], tuple[int, Public] | None]:
    """One column's values, NaN where missing; and the first cell that is no finite float32, and why."""
    try:
        values = np.array([_number(cell) for cell in cells])
    except ValueError:
        values = np.full(len(cells), np.nan)
        for i, cell in enumerate(cells):
            try:
                values[i] = _number(cell)
            except ValueError:
                if cell.strip().lower() not in MISSING:
                    decimal_comma = public("not a number; write decimals with a point")
                    told = decimal_comma if "," in cell else public("not a number")
                    return values.astype(np.float32), (i, told)
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if np.isinf(narrow).any():
        return narrow, (int(np.isinf(narrow).argmax()), public("infinite, or too large for a float32"))
    return narrow, None


def _number(cell: str) -> float:
    """As `float`, which takes Python's 1_000 too; in data that is more likely a text than a number."""
    if "_" in cell:
        raise ValueError
    return float(cell)
