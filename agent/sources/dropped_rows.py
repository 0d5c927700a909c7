"""Rows that `[data] newest` has dropped: how many of each recording, and in what order.

Whether a row is held out follows from its number in its recording (`agent.data.division`). So dropped rows
still count. Otherwise the numbers of all rows would change when new rows are appended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

First = tuple[float, int, int]
"""The sort key of rows in the order of the data: time, table, line."""


@dataclass(frozen=True)
class DroppedRows:
    """The dropped rows of k recordings. A recording's index is its number in `Samples.series`."""

    rows: NDArray[np.int64]
    """Shape (k,): the number of dropped rows of each recording."""
    place: NDArray[np.int64]
    """Shape (k,): each recording's position in the order of appearance, dropped rows included."""


@dataclass(frozen=True)
class DroppedByAge:
    """Rows of a table that were dropped because they are older than the wanted days."""

    rows: int = 0
    """The number of rows with a time. They count when it is decided which clock is wrong."""
    ahead: int = 0
    """The number of rows whose time was in the future."""
    end_s: float = -np.inf
    """The latest moment from which days were counted back."""


class DroppedByRecording:
    """Dropped rows of one table: for each recording how many, and where the first one was."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.first: dict[str, tuple[float, int]] = {}
        """By recording: time and line of its first dropped row."""

    def take(self, name: str, rows: int, time: float, line: int) -> None:
        """Count more rows of one recording; time and line are those of the first of them."""
        self.rows[name] = self.rows.get(name, 0) + rows
        if name not in self.first or (time, line) < self.first[name]:
            self.first[name] = time, line


def dropped_rows(
    names: Sequence[str], series: NDArray[np.int64], rows: Mapping[str, int], first: Mapping[str, First]
) -> DroppedRows:
    """Arrange the dropped rows by the numbers of the recordings that are used.

    Args:
        names: the names of the recordings, in the order of their numbers.
        series: shape (n,), the recording of each used row in the order of the data. All used rows are newer
            than the dropped ones.
        rows: the number of dropped rows, by name.
        first: where the first dropped row was, by name.
    """
    numbers, at = np.unique(series, return_index=True)
    used = [names[number] for number in numbers[np.argsort(at)].tolist()]
    order = dict.fromkeys([*sorted(first, key=lambda name: first[name]), *used])
    places = {name: place for place, name in enumerate(order)}
    return DroppedRows(
        np.array([rows.get(name, 0) for name in names], dtype=np.int64),
        np.array([places[name] for name in names], dtype=np.int64),
    )
