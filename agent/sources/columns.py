"""The columns of a table, collected block by block: numbers, and the texts that are asked for."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.sources.decimals import Style, Undecided
from agent.sources.tables import Header, Row
from agent.sources.times import Times
from fedge.disclosure import Public, public

MISSING = frozenset(
    {
        *("", "-", "?", "na", "n/a", "nan", "none", "null", "<na>", "nat"),
        *("\\n", "unavailable", "unknown"),  # MySQL and PostgreSQL; Home Assistant
        *("#n/a", "#div/0!", "#value!", "#ref!", "#name?", "#num!", "#null!"),  # spreadsheets
    }
)
"""Texts that stand for a missing value in a column of numbers, in any case."""


class Absence:
    """What means "no reading" in the cells of a file.

    Args:
        values: further texts, compared in any case. Numbers among them are no matter of a file: they are
            made missing values in every source, and counted, by `agent.sources.exclusions`.
    """

    def __init__(self, values: Sequence[float | str] = ()) -> None:
        self.texts = frozenset(value.strip().lower() for value in values if isinstance(value, str))
        """Beside those that always do."""
        self._words = MISSING | self.texts

    def is_missing(self, cell: str) -> bool:
        """Whether a cell of a column of numbers is a text for no reading."""
        return cell.strip().lower() in self._words


_NOT_A_NUMBER = public("not a number")
_COMMA = public("not a number; write decimals with a point")


@dataclass
class Unreadable:
    """Cells of a column that are no number: how many, and the first one."""

    count: int = 0
    numbers: int = 0
    """Cells of the column that are numbers."""
    row: int = -1
    """The table's row of the first."""
    what: Public = _NOT_A_NUMBER


@dataclass
class Columns:
    """The columns of one table, as far as it has been read.

    A name that stands twice is kept once, at its first place.
    """

    header: Header
    styles: Mapping[int, Style]
    default: Style
    undecided: Mapping[int, Undecided]
    absence: Absence
    texts_of: Container[str | None]
    time: str | None
    key: str | None
    """A column that says what is measured in the row, where that stands in the rows."""
    keys: set[str] = field(default_factory=set)
    """What stands in it."""

    def __post_init__(self) -> None:
        names = self.header.names
        self.kept = tuple(j for j, name in enumerate(names) if names.index(name) == j)
        """Places in the header of the columns that are kept."""
        self.names = tuple(names[j] for j in self.kept)
        self.doubles = {
            name: (names.index(name), j)
            for j, name in reversed(list(enumerate(names)))
            if names.index(name) != j
        }
        """Names that stand twice, and their first two places."""
        self.texts: dict[str, list[str]] = {name: [] for name in self.names if name in self.texts_of}
        self.unreadable = [Unreadable() for _ in self.kept]
        self.rows = 0
        self._blocks = [np.empty((0, len(self.kept)), dtype=np.float32)]
        self._lines: list[int] = []
        self.times = Times()
        """Of the rows, where there is a column of times."""

    def take(self, block: Sequence[Row]) -> None:
        """More rows; text takes 15 times the memory of the numbers that it stands for."""
        if not block:
            return
        self._lines += [line for line, _ in block]
        found = np.empty((len(block), len(self.kept)), dtype=np.float32)
        columns = list(zip(*(row for _, row in block), strict=True))
        for k, j in enumerate(self.kept):
            cells = columns[j]
            found[:, k] = self._numbers(k, self.styles.get(j, self.default), cells)
            name = self.names[k]
            if name in self.texts:
                stripped = [cell.strip() for cell in cells]
                if self.absence.texts:
                    stripped = ["" if cell.lower() in self.absence.texts else cell for cell in stripped]
                self.texts[name] += stripped
            if name == self.time:
                comma = self.styles.get(j, self.default).decimal == ","
                self.times.take([cell.replace(",", ".") for cell in cells] if comma else cells)
            if name == self.key:
                self.keys.update(cells)
        self._blocks.append(found)
        self.rows += len(block)

    @property
    def X(self) -> NDArray[np.float32]:  # noqa: N802 (the field's name for samples)
        """Shape (n, d)."""
        return np.concatenate(self._blocks)

    @property
    def lines(self) -> NDArray[np.int64]:
        """The line that each row begins in, counted from 1."""
        return np.array(self._lines, dtype=np.int64)

    def _numbers(self, k: int, style: Style, cells: Sequence[str]) -> NDArray[np.float32]:
        """One column's values, NaN where missing or unreadable, which is counted."""
        about = self.unreadable[k]
        bad: dict[int, Public] = {}
        try:
            values = style.numbers(cells)
        except ValueError:
            values = np.full(len(cells), np.nan)
            for i, cell in enumerate(cells):
                try:
                    values[i] = style.number(cell)
                except ValueError:
                    if not self.absence.is_missing(cell):
                        bad[i] = _COMMA if style.decimal == "." and "," in cell else _NOT_A_NUMBER
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        for beyond in np.flatnonzero(np.isinf(narrow)).tolist():
            bad[beyond] = public("infinite, or too large for a float32")
            narrow[beyond] = np.nan
        if bad:
            if about.row < 0:
                first = min(bad)
                about.row, about.what = self.rows + first, bad[first]
            about.count += len(bad)
        about.numbers += int(np.count_nonzero(~np.isnan(narrow)))
        return narrow
