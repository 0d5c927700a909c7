"""The columns of a table, collected block by block: numbers, and the requested texts."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.sources.buffers import Buffer, Texts
from agent.sources.decimals import Style, Undecided
from agent.sources.dropped_rows import DroppedByAge, DroppedByRecording
from agent.sources.file_copies import COMPARED
from agent.sources.remainders import Remainders
from agent.sources.table_reader import Header, Row
from agent.sources.times import NONE_YET, Last, Times
from fedge.data.disclosure import Public, public

MISSING = frozenset(
    {
        *("", "-", "?", "na", "n/a", "nan", "none", "null", "<na>", "nat"),
        *("\\n", "unavailable", "unknown"),  # MySQL and PostgreSQL; Home Assistant
        *("#n/a", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!"),  # spreadsheets
    }
)
"""Texts that stand for a missing value in a column of numbers, in any case."""


class Absence:
    """The texts that mean "no reading" in the cells of a file.

    Args:
        values: further texts, compared in any case. `agent.sources.exclusions` handles the numbers among
            them: it makes them missing values in every source, and counts them.
    """

    def __init__(self, values: Sequence[float | str] = ()) -> None:
        self.texts = frozenset(value.strip().lower() for value in values if isinstance(value, str))
        """The texts beyond those of `MISSING`."""
        self._words = MISSING | self.texts

    def is_missing(self, cell: str) -> bool:
        """Whether a cell of a column of numbers holds a text that means "no reading"."""
        return cell.strip().lower() in self._words


NOT_A_NUMBER, COMMA, INFINITE = 1, 2, 3
WHAT = (
    public("a number, or missing"),
    public("not a number"),
    public("not a number; write decimals with a point"),
    public("infinite, or too large for a float32"),
)
"""What is wrong with a cell, by these numbers; 0: nothing."""


@dataclass(frozen=True)
class Unreadable:
    """Cells of a column that are no number: how many, and the first one."""

    count: int
    numbers: int
    """Cells of the column that are numbers."""
    row: int
    """The table's row with the first of them; 0 if there is none."""
    what: Public


@dataclass
class Columns:
    """The columns of one table, as far as it has been read.

    Of two columns with the same name only the first is kept.
    """

    header: Header
    styles: Mapping[int, Style]
    default: Style
    undecided: Mapping[int, Undecided]
    absence: Absence
    texts_of: Container[str | None]
    series: str | None
    """The column that names a row's recording; None: the file is one."""
    time: str | None
    key: str | None
    """The column that says what is measured in the row, if there is one."""
    keys: set[str] = field(default_factory=set)
    """The different values of that column."""
    last: Last = NONE_YET
    """The time of the row before the first one."""
    exact: bool = False
    """Whether the rounding of float32 is kept for all columns."""

    def __post_init__(self) -> None:
        names = self.header.names
        self.kept = tuple(j for j, name in enumerate(names) if names.index(name) == j)
        """The positions in the header of the columns that are kept."""
        self.names = tuple(names[j] for j in self.kept)
        self.doubles = {
            name: (names.index(name), j)
            for j, name in reversed(list(enumerate(names)))
            if names.index(name) != j
        }
        """Names that occur twice, and their first two positions."""
        self.texts = {name: Texts() for name in self.names if name in self.texts_of}
        self.rows = 0
        """The number of rows that are kept."""
        self.seen = 0
        """The number of all rows that were read."""
        self.first_lines: list[int] = []
        """The lines in which the first rows begin, at most `COMPARED`."""
        self.forgotten = DroppedByRecording()
        self.gone = DroppedByAge()
        """How many rows were dropped for being too old. The code that drops them counts them."""
        self._X = Buffer(np.float32, len(self.kept))
        self._rest = Remainders(len(self.kept), all_of_them=self.exact)
        self._faults = Buffer(np.uint8, len(self.kept))
        """For each cell its index in `WHAT`."""
        self._lines = Buffer(np.int64)
        self.times = Times(self.last)
        """The times of the rows, if there is a column of times."""

    def take(self, block: Sequence[Row]) -> None:
        """Append rows. They are converted at once, because text takes 15 times the memory of its numbers."""
        if not block:
            return
        lines = [line for line, _ in block]
        self._lines.take(lines)
        self.first_lines += lines[: COMPARED - len(self.first_lines)]
        values = np.empty((len(block), len(self.kept)))
        faults = np.zeros((len(block), len(self.kept)), dtype=np.uint8)
        columns = list(zip(*(row for _, row in block), strict=True))
        for k, j in enumerate(self.kept):
            cells = columns[j]
            values[:, k], faults[:, k] = self._numbers(self.styles.get(j, self.default), cells)
            name = self.names[k]
            if name in self.texts:
                stripped = [cell.strip() for cell in cells]
                if self.absence.texts:
                    stripped = ["" if cell.lower() in self.absence.texts else cell for cell in stripped]
                self.texts[name].take(stripped)
            if name == self.time:
                comma = self.styles.get(j, self.default).decimal == ","
                self.times.take([cell.replace(",", ".") for cell in cells] if comma else cells)
            if name == self.key:
                self.keys.update(cells)
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        beyond = np.isinf(narrow)
        faults[beyond] = INFINITE
        values[beyond] = narrow[beyond] = np.nan
        self._X.take(narrow)
        self._rest.take(values, narrow)
        self._faults.take(faults)
        self.rows += len(block)
        self.seen += len(block)

    def keep(self, rows: NDArray[np.intp], times: NDArray[np.float64] | None = None) -> None:
        """Drop all rows but these.

        Args:
            rows: the rows to keep, in ascending order.
            times: shape (n,), the times of all rows; None: not known.
        """
        if len(rows) == self.rows:
            return
        gone = np.ones(self.rows, dtype=np.bool_)
        gone[rows] = False
        self._count(np.flatnonzero(gone), times)
        for buffer in (self._X, self._faults, self._lines):
            buffer.keep(rows)
        self._rest.keep(rows)
        for texts in self.texts.values():
            texts.keep(rows)
        if self.time in self.names:
            self.times.keep(rows)
        self.rows = len(rows)

    def _count(self, gone: NDArray[np.intp], times: NDArray[np.float64] | None) -> None:
        """Count dropped rows by recording. A table without the column of recordings does not tell theirs."""
        when = np.zeros(len(gone)) if times is None else times[gone]
        lines = self.lines[gone]
        if self.series is None:
            first = int(when.argmin())
            self.forgotten.take("", len(gone), float(when[first]), int(lines[first]))
        elif self.series in self.texts:
            names = list(self.texts[self.series])
            for row, time, line in zip(gone.tolist(), when.tolist(), lines.tolist(), strict=True):
                self.forgotten.take(names[row], 1, time, line)

    @property
    def X(self) -> NDArray[np.float32]:  # noqa: N802 (the field's name for samples)
        """The numbers of the rows, shape (n, d)."""
        return self._X.array

    def rest(self, name: str) -> NDArray[np.float64] | None:
        """The rounding of a column to float32, shape (n,); None: float32 is enough, or there is no such
        column."""
        return self._rest.column(self.names.index(name)) if name in self.names else None

    @property
    def lines(self) -> NDArray[np.int64]:
        """The line that each row begins in, counted from 1."""
        return self._lines.array

    def unreadable(self, name: str) -> Unreadable:
        """The cells of one column that are no number."""
        k = self.names.index(name)
        faults, numbers = self._faults.array[:, k], ~np.isnan(self.X[:, k])
        row = int(faults.astype(np.bool_).argmax()) if self.rows else 0
        what = WHAT[faults[row]] if self.rows else WHAT[0]
        return Unreadable(int(np.count_nonzero(faults)), int(np.count_nonzero(numbers)), row, what)

    def _numbers(self, style: Style, cells: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Return one column's values, NaN where missing or unreadable, and what is wrong with each cell."""
        faults = np.zeros(len(cells), dtype=np.uint8)
        try:
            values = style.numbers(cells)
        except ValueError:
            values = np.full(len(cells), np.nan)
            for i, cell in enumerate(cells):
                try:
                    values[i] = style.number(cell)
                except ValueError:
                    if not self.absence.is_missing(cell):
                        faults[i] = COMMA if style.decimal == "." and "," in cell else NOT_A_NUMBER
        return values, faults
