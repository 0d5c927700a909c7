"""What a source hands over: rows as they stand in the data, before any task has chosen among them.

Error messages about data name places, never values. They have two texts: the full one names files and
columns, and stays here; what travels to the aggregator when a device declines is `public`, see
fedge.disclosure.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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
    exclusions: tuple[Exclusion, ...] = ()
    """What the owner declared to be no measurement, and is NaN in `X` therefore."""
    narrowed: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Columns that lose most of their values in float32: how many different ones are left, and were there."""

    def place(self, row: int) -> str:
        """Where a row is: `data/a.csv: line 7`."""
        first = 0
        for name, rows in self.blocks:
            if row < first + rows:
                return (
                    f"{name}: row {row - first}" if self.lines is None else f"{name}: line {self.lines[row]}"
                )
            first += rows
        raise IndexError(f"row {row} of {first}")

    def public_place(self, row: int) -> Public:
        """Where a row is, as others are told: without the file's name."""
        if self.lines is None:
            return public("row {row}", row=row)
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
