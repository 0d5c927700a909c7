"""The samples that a source returns: rows as they are in the data, before a task selects from them.

Error messages about data name places, never values. Each has two texts. The full text names files and
columns, and stays on the device. The other text, `public`, is sent to the aggregator when a device declines
(`fedge.data.disclosure`).
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.sources.dropped_rows import DroppedRows
from agent.sources.rotation import NOTHING_BESIDE, Beside
from fedge.data.disclosure import Public, public
from fedge.errors import DataError


@dataclass(frozen=True)
class Fault:
    """Why a column cannot be used."""

    text: str
    """The full text, with the file, the place in it, and the column. It stays on the device."""
    place: Public
    """The place, which may be sent."""
    what: Public
    """What is wrong there, which may be sent, together with the task's name of the column."""
    is_text: bool = False
    """Whether the whole column is text, so that it cannot be meant as numbers."""


@dataclass(frozen=True)
class Unread:
    """Cells of a column that are neither a number nor a text for a missing value: they count as missing."""

    count: int
    rows: int
    """The number of all rows."""
    first: Fault
    row: int
    """The row of the first such cell, in the order of the data."""


@dataclass(frozen=True)
class LeftOut:
    """Lines that cannot be read, and so are not rows."""

    lines: int
    of: int
    """The number of lines, including these."""
    text: str
    """How many, and where the first one is. This text stays on the device."""
    public: Public
    """The same in the form that may be sent."""


@dataclass(frozen=True)
class Exclusion:
    """Values of one column that count as missing."""

    column: int | None
    """The column's number; None: the values are answers in `y`."""
    why: str
    """The owner's setting: `-9999`, `outside of -40 … 85`."""
    count: int
    first: int
    """The first row that has one."""


@dataclass(frozen=True)
class Ahead:
    """Rows whose time is in the future by the device's clock."""

    count: int
    """The number of these rows."""
    rows: int
    """The number of all rows that have a time."""
    first: int
    """The first of these rows that is used."""
    time: str
    """The time in that row."""
    now: str
    """The time by the device's clock."""
    believed: str
    """The newest time that is believed, from which days are counted back."""


@dataclass(frozen=True)
class Samples:
    """n rows of d columns, with their answers and their origin."""

    name: str
    """The source's name in error messages: a path, or `module:function`."""
    X: NDArray[np.float32]
    """Shape (n, d); NaN where a value is missing."""
    columns: tuple[str, ...] | None
    """Names of the d columns, all different; None: the data do not name them."""
    y: NDArray[Any] | None
    """The answers: class labels of shape (n,), text or integers; or numbers of shape (n,) or (n, t), NaN
    where missing. None: the data have no answers beside the columns."""
    answer: str
    """The name of `y` in the data, for error messages: `column 'label'`."""
    series: NDArray[np.int64]
    """Shape (n,): which recording a row belongs to. Rows of one recording are in the order of time."""
    blocks: tuple[tuple[str, int], ...]
    """Where the rows come from, in order: a file's name and the number of its rows."""
    lines: NDArray[np.int64] | None = None
    """Shape (n,): each row's line in its file; None: rows are counted from 0."""
    faults: Mapping[int, Fault] = field(default_factory=dict)
    """Columns that cannot be used, with the first reason. The task decides whether a column matters."""
    unanswered: NDArray[np.bool_] | None = None
    """Shape (n,): rows whose answer is missing, if `y` itself cannot mark that; None: `y` does."""
    nameless: DataError | None = None
    """Set if `columns` look like values: the error to raise unless the task asks for such names."""
    reading: tuple[str, ...] = ()
    """How the files were understood, and why, in sentences for the owner. They stay on the device."""
    left_out: LeftOut | None = None
    """Lines that could not be read; None: all were."""
    unread: Mapping[int, Unread] = field(default_factory=dict)
    """By column: cells that could not be read, and count as missing."""
    ahead: Ahead | None = None
    """Rows whose time is in the future; None: there are none, or rows have no times."""
    of: int | None = None
    """The number of rows in the data, including older ones that are not used; None: these are all."""
    first_row: int = 0
    """The number of the first row, if rows are counted."""
    earlier: DroppedRows | None = None
    """Rows of the recordings before these, which are not used; None: there are none."""
    beside: Beside = NOTHING_BESIDE
    """Files that lie beside those that were read."""
    rest: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    """By column the rounding of its values to float32, shape (n,), for columns that may be too fine for
    float32; see `agent.sources.remainders`."""
    waiting: tuple[str, ...] = ()
    """Names of files whose last line has no line end yet, and is not among the rows."""

    def unread_at(self, row: int, names: Collection[str]) -> Fault | None:
        """Return the first unread cell of one of these columns, if it is in this row."""
        for j, name in enumerate(self.columns or ()):
            if name in names and (about := self.unread.get(j)) is not None and about.row == row:
                return about.first
        return None

    def notes(self, names: Collection[str]) -> tuple[str, ...]:
        """Return notes for the owner on lines left out and cells unread in these columns. They stay on the
        device."""
        told = () if self.left_out is None else (self.left_out.text,)
        return told + tuple(
            f"{about.count} of {about.rows} values of column {name!r} count as missing, first: "
            f"{about.first.text}"
            for j, about in sorted(self.unread.items())
            if (name := self.columns[j] if self.columns else str(j)) in names
        )

    exclusions: tuple[Exclusion, ...] = ()
    """Values that the owner declared to be no measurements, which are NaN in `X`."""

    def place(self, row: int) -> str:
        """Return where a row is: `data/a.csv: line 7`.

        Raises:
            IndexError: there is no such row.
        """
        first = 0
        for name, rows in self.blocks:
            if row < first + rows:
                return (
                    f"{name}: row {self.first_row + row - first}"
                    if self.lines is None
                    else f"{name}: line {self.lines[row]}"
                )
            first += rows
        raise IndexError(f"row {row} of {first}")

    def public_place(self, row: int) -> Public:
        """Return where a row is, in the form that may be sent: without the file's name."""
        if self.lines is None:
            return public("row {row}", row=self.first_row + row)
        return public("line {line}", line=int(self.lines[row]))


class Source(Protocol):
    """Where samples come from."""

    def read(self) -> Samples:
        """Read everything that is there now.

        Raises:
            DataError: it cannot be read; the text says which file, where in it, and what to do.
        """

    def fingerprint(self) -> Hashable:
        """A value that is cheap to get, and differs from the last one whenever the data may have changed.

        Raises:
            DataError: there is no data.
        """


def unreadable(path: Path, error: OSError) -> DataError:
    """Return the error for a file or folder that cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError(
            f"{path}: there is no such file or folder; check the path",
            public("the file or folder of the data is not there"),
        )
    return DataError(f"{path}: cannot be read: {error.strerror or error}", public("the data cannot be read"))


def number(names: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
    """Give each distinct name a number: shape (n,) -> (n,). Equal names have equal numbers."""
    return np.unique(np.asarray(names), return_inverse=True)[1].reshape(-1).astype(np.int64)
