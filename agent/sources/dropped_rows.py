"""The rows before those that are used, which were dropped: how many of each recording, and in what order.

Whether a row is held out follows from its number in its recording (`agent.data.division`). So the rows that
`[data] newest` has dropped still count. Otherwise every row would change its number when others come.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

First = tuple[float, int, int]
"""The sort key of rows in the order of the data: time, table, line."""


@dataclass(frozen=True)
class DroppedRows:
    """By the number that stands in `Samples.series`."""

    rows: NDArray[np.int64]
    """Shape (k,): dropped rows of each recording."""
    place: NDArray[np.int64]
    """Shape (k,): each recording's number in the order of appearance of all, dropped ones too."""


@dataclass(frozen=True)
class DroppedByAge:
    """Rows of a table that were dropped for being older than some days."""

    rows: int = 0
    """Those that had a time: they count when it is decided which clock is wrong."""
    ahead: int = 0
    """Those whose time was in the future."""
    end_s: float = -np.inf
    """The latest moment from which days were counted back."""


class DroppedByRecording:
    """Dropped rows of one table: for each recording how many, and where the first one was."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.first: dict[str, tuple[float, int]] = {}
        """Time and line."""

    def take(self, name: str, rows: int, time: float, line: int) -> None:
        """More rows of one recording; time and line are those of the first of them."""
        self.rows[name] = self.rows.get(name, 0) + rows
        if name not in self.first or (time, line) < self.first[name]:
            self.first[name] = time, line


def dropped_rows(
    names: Sequence[str], series: NDArray[np.int64], rows: Mapping[str, int], first: Mapping[str, First]
) -> DroppedRows:
    """Of recordings by the numbers that they have among those that are used.

    Args:
        names: of the recordings, in the order of their numbers.
        series: of shape (n,), each used row's recording in the order of the data; all are newer than what is
            forgotten.
        rows: by name, those forgotten.
        first: by name, where the first of them stood.
    """
    numbers, at = np.unique(series, return_index=True)
    used = [names[number] for number in numbers[np.argsort(at)].tolist()]
    order = dict.fromkeys([*sorted(first, key=lambda name: first[name]), *used])
    places = {name: place for place, name in enumerate(order)}
    return DroppedRows(
        np.array([rows.get(name, 0) for name in names], dtype=np.int64),
        np.array([places[name] for name in names], dtype=np.int64),
    )
