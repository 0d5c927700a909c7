"""What a source hands over: rows as they stand in the data, before any task has chosen among them.

Error messages about data name places, never values. They have two texts: the full one names files and
columns, and stays here; what travels to the aggregator when a device declines is `public`, see
fedge.disclosure.
"""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.sources.earlier import Earlier
from agent.sources.rotation import NOTHING_BESIDE, Beside
from fedge.disclosure import Public, public
from fedge.errors import DataError


@dataclass(frozen=True)
class Fault:
    """Why a column cannot be used."""

    text: str
    """Names the file, the place in it, and the column."""
    place: Public
    """Where it is, as others are told."""
    what: Public
    """What is wrong there, as others are told. Of the column they are told the task's name."""
    is_text: bool = False
    """Whether the column is text altogether, so that nobody can have meant it to be numbers."""


@dataclass(frozen=True)
class Unread:
    """Cells of a column that are neither a number nor a text for a missing value: they count as missing."""

    count: int
    rows: int
    """Of all rows."""
    first: Fault
    row: int
    """The row of the first, in the order of the data."""


@dataclass(frozen=True)
class LeftOut:
    """Lines that cannot be read, so that they are no rows."""

    lines: int
    of: int
    """So many lines there are with them."""
    text: str
    """How many, and where the first one is; stays here."""
    public: Public
    """The same, as others may be told."""


@dataclass(frozen=True)
class Exclusion:
    """Values of one column that count as missing."""

    column: int | None
    """Its number; None: they are answers of `y`."""
    why: str
    """The owner's own words: `-9999`, `outside of -40 … 85`."""
    count: int
    first: int
    """The first row that has one."""


@dataclass(frozen=True)
class Ahead:
    """Rows whose time lies in the future, by the device's clock."""

    count: int
    rows: int
    """All that have a time."""
    first: int
    """The number of the first one that is used."""
    time: str
    """When that one was measured, as it says."""
    now: str
    """What the device's clock said."""
    believed: str
    """The newest time that is believed, from which days are counted."""


@dataclass(frozen=True)
class Samples:
    """n rows of d columns, and what they are about."""

    name: str
    """The source as error messages call it: a path, or `module:function`."""
    X: NDArray[np.float32]
    """Shape (n, d); NaN where a value is missing."""
    columns: tuple[str, ...] | None
    """Names of the d columns, all different; None: the data does not name them."""
    y: NDArray[Any] | None
    """The answers: class labels of shape (n,), text or integers; or numbers of shape (n,) or (n, t), NaN
    where missing. None: the data has none beside the columns."""
    answer: str
    """What `y` is called in the data, for error messages: `column 'label'`."""
    series: NDArray[np.int64]
    """Shape (n,): which recording a row belongs to. Rows of one recording are in the order of time."""
    blocks: tuple[tuple[str, int], ...]
    """Where the rows came from, in order: a file's name and how many of the rows are its own."""
    lines: NDArray[np.int64] | None = None
    """Shape (n,): each row's line in its file; None: rows are counted from 0."""
    faults: Mapping[int, Fault] = field(default_factory=dict)
    """Columns that cannot be used, and the first reason why; whether one matters is the task's to say."""
    unanswered: NDArray[np.bool_] | None = None
    """Shape (n,): rows whose answer is missing where `y` itself cannot say so; None: `y` says it all."""
    nameless: DataError | None = None
    """Set where `columns` look like values: what to say unless the task asks for names such as these."""
    reading: tuple[str, ...] = ()
    """How the files were understood and why, in sentences for the owner; they stay here."""
    left_out: LeftOut | None = None
    """Lines that could not be read; None: all were."""
    unread: Mapping[int, Unread] = field(default_factory=dict)
    """By column: cells that could not be read, and count as missing."""
    ahead: Ahead | None = None
    """Rows whose time lies in the future; None: there is none, or rows have no times."""
    of: int | None = None
    """So many rows the data have with those that are not used, for they are older; None: these are all."""
    first_row: int = 0
    """The number of the first row where rows are counted."""
    earlier: Earlier | None = None
    """What came of the recordings before these rows, and is not used; None: nothing."""
    beside: Beside = NOTHING_BESIDE
    """Files that lie beside those that were read."""
    rest: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    """By column what float32 has taken away of its values, of shape (n,): with it they are as they were
    read. Of columns that may be too fine for float32; see `agent.sources.remainders`."""
    waiting: tuple[str, ...] = ()
    """Names of files whose last line has no end yet, and is not among the rows."""

    def unread_at(self, row: int, names: Collection[str]) -> Fault | None:
        """The first unread cell of one of these columns, if it stands in this row."""
        for j, name in enumerate(self.columns or ()):
            if name in names and (about := self.unread.get(j)) is not None and about.row == row:
                return about.first
        return None

    def notes(self, names: Collection[str]) -> tuple[str, ...]:
        """What the owner is to know of lines left out and of cells unread in these columns; stays here."""
        told = () if self.left_out is None else (self.left_out.text,)
        return told + tuple(
            f"{about.count} of {about.rows} values of column {name!r} count as missing, first: "
            f"{about.first.text}"
            for j, about in sorted(self.unread.items())
            if (name := self.columns[j] if self.columns else str(j)) in names
        )

    exclusions: tuple[Exclusion, ...] = ()
    """What the owner declared to be no measurement, and is NaN in `X` therefore."""

    def place(self, row: int) -> str:
        """Where a row is: `data/a.csv: line 7`."""
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
        """Where a row is, as others are told: without the file's name."""
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
        """Something cheap that differs from the one before whenever the data may have changed.

        Raises:
            DataError: there is no data.
        """


def unreadable(path: Path, error: OSError) -> DataError:
    """What to say of a file or folder that the system does not let us read."""
    if isinstance(error, FileNotFoundError):
        return DataError(
            f"{path}: there is no such file or folder; check the path",
            public("the file or folder of the data is not there"),
        )
    return DataError(f"{path}: cannot be read: {error.strerror or error}", public("the data cannot be read"))


def number(names: Sequence[Any] | NDArray[Any]) -> NDArray[np.int64]:
    """Give each distinct name a number: shape (n,) -> (n,), equal where the names are."""
    return np.unique(np.asarray(names), return_inverse=True)[1].reshape(-1).astype(np.int64)
