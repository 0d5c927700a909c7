"""Samples from CSV: one file, or a folder of them that may be growing while it is read."""

import csv
import io
from collections.abc import Container, Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.sources.samples import Samples, listing, number, unreadable
from fedge.errors import DataError

MISSING = frozenset({"", "-", "?", "na", "n/a", "nan", "none", "null"})
"""Texts that stand for a missing value in a column of numbers, in any case."""

BLOCK = 4_096
"""Rows held as text at a time."""


@dataclass(frozen=True)
class CsvSource:
    """Comma-separated text in UTF-8 with a header line, as RFC 4180 has it.

    Columns are told apart by their names. A column of text is no error unless the task asks for it. An empty
    line is no row; where there is only one column, "" is a row whose value is missing.
    """

    path: Path
    """A file, or a folder whose *.csv are read in the order of their names."""
    label: str | None = None
    """The column of class names; without such a column there are no answers."""
    series: str | None = None
    """The column naming the recording a row belongs to; None: each file is one."""
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
        tables = [_parse(file, self.growing, {self.label, self.series}) for file in files]
        filled = [table for table in tables if table is not None and len(table.X)]
        if not filled:
            what = (
                "has a header but no rows yet"
                if any(tables)
                else "is empty; it must begin with a header line"
            )
            more = f" (nor have {len(files) - 1} more files rows)" if len(files) > 1 else ""
            raise DataError(f"{files[0]}: {what}{more}")
        return self._join(filled)

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
            raise DataError(f"{self.path}: the folder holds no file whose name ends in .csv")
        return files

    def _join(self, tables: "list[_Table]") -> Samples:
        first = tables[0]
        for table in tables:
            _check_header(table, first)
        if self.series is not None and self.series not in first.header:
            raise DataError(
                f"{first.file}: line 1: there is no column {self.series!r}, which [data] series names; "
                f"the columns are {listing(first.header)}"
            )
        sizes = [len(table.X) for table in tables]
        faults: dict[int, str] = {}
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
    faults: dict[str, str]


def _parse(file: Path, growing: bool, wanted: Container[str | None]) -> _Table | None:
    """Read one file, with the `wanted` columns as text too; None: it has no complete line."""
    rows = _rows(file, _data(file, growing))
    header = _header(file, *next(rows, (0, [])))
    if not header:
        return None
    texts: dict[str, list[str]] = {name: [] for name in header if name in wanted}
    blocks: list[NDArray[np.float32]] = [np.empty((0, len(header)), dtype=np.float32)]
    lines: list[int] = []
    faults: dict[str, str] = {}
    while block := list(islice(rows, BLOCK)):  # text takes 15 times the memory of the numbers it stands for
        block_lines = [line for line, _ in block]
        lines += block_lines
        blocks.append(np.empty((len(block), len(header)), dtype=np.float32))
        for j, (name, cells) in enumerate(
            zip(header, zip(*(row for _, row in block), strict=True), strict=True)
        ):
            blocks[-1][:, j], bad = _numbers(cells)
            if bad is not None:
                faults.setdefault(name, f"{file}: line {block_lines[bad[0]]}, column {name!r}: {bad[1]}")
            if name in texts:
                texts[name] += [cell.strip() for cell in cells]
    return _Table(file, header, np.concatenate(blocks), texts, np.array(lines, dtype=np.int64), faults)


def _rows(file: Path, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows, all of the header's length, each with the line it begins in."""
    text = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    reader = csv.reader(text, strict=True, skipinitialspace=True)
    columns = 0
    line = 1
    try:
        for row in reader:
            if row and (row != [""] or columns == 1):
                columns = columns or len(row)
                if len(row) != columns:
                    raise DataError(
                        f"{file}: line {line}: has {len(row)} cells, the header has {columns} columns; "
                        "complete or delete the line"
                    )
                yield line, row
            line = reader.line_num + 1
    except UnicodeDecodeError:
        line = _undecodable(data)
        raise DataError(f"{file}: line {line}: not UTF-8; save the file as CSV in UTF-8") from None
    except csv.Error as error:
        hint = "; look for a quote that is not closed" if b'"' in data else ""
        raise DataError(f"{file}: line {line}: not CSV: {error}{hint}") from None


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


def _header(file: Path, line: int, row: list[str]) -> tuple[str, ...]:
    """The names in the first row; none where there is no row."""
    names = tuple(name.strip() for name in row)
    if len(names) == 1 and (other := next((sign for sign in ";\t|" if sign in names[0]), None)):
        raise DataError(f"{file}: line {line}: columns are separated by {other!r}; separate them by commas")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{file}: line {line}: column {twice[0]!r} stands twice; give each its own name")
    return names


def _check_header(table: _Table, first: _Table) -> None:
    for name, one, other in (
        *((name, table, first) for name in table.header if name not in first.header),
        *((name, first, table) for name in first.header if name not in table.header),
    ):
        raise DataError(
            f"{other.file}: line 1: there is no column {name!r}, which {one.file} has; "
            "all files of a folder have the same columns"
        )


def _numbers(cells: Sequence[str]) -> tuple[NDArray[np.float32], tuple[int, str] | None]:
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
                    hint = "; write decimals with a point" if "," in cell else ""
                    return values.astype(np.float32), (i, f"not a number{hint}")
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if np.isinf(narrow).any():
        return narrow, (int(np.isinf(narrow).argmax()), "infinite, or too large for a float32")
    return narrow, None


def _number(cell: str) -> float:
    """As `float`, which takes Python's 1_000 too; in data that is more likely a text than a number."""
    if "_" in cell:
        raise ValueError
    return float(cell)
