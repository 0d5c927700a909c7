"""Inputs far outside what the fleet has measured: how many rows, in which column, in which line.

The network clips them if its task says so, so that one impossible number (-9999 for "no reading") cannot
spoil a round. They are reported to the device's owner all the same, because only the owner knows what they
are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources.samples import Samples
from fedge.data.disclosure import Known, Public, public
from fedge.wire.messages.task import Task

USUAL = 20.0
"""Standard deviations beyond which an input is reported if the network does not clip."""
NAMED = 5
"""The largest number of columns that are named."""
BLOCK_ROWS = 4_096
"""Rows examined at once, so that the float64 copies stay small."""


@dataclass(frozen=True)
class Column:
    """One column with inputs beyond the bound."""

    name: str
    """Its name in the task."""
    rows: int
    """How many there are."""
    place: str
    """File and line of the farthest one. It stays on the device."""
    distance: float
    """The distance of the farthest one from the fleet's mean, in the fleet's standard deviations. It stays on
    the device too."""


@dataclass(frozen=True)
class Extremes:
    """The inputs beyond the bound."""

    rows: int
    """Rows with at least one such input, at least 1."""
    bound: float
    """In standard deviations."""
    clipped: bool
    """Whether the network clips them there."""
    columns: tuple[Column, ...]
    """The column with the farthest one first."""

    @property
    def what(self) -> str:
        """The text on what is done with them."""
        return "they count as that far" if self.clipped else "nothing clips them"

    @property
    def told(self) -> Public:
        """The text for others: counts and a name that the task knows, but no distance, which is a value."""
        return public(
            "in {rows} of the rows an input lies more than {bound:g} standard deviations away, farthest in "
            "column {name!r}: mend them or leave them out; only if they are right lower the learning rate",
            rows=self.rows,
            bound=self.bound,
            name=Known(self.columns[0].name),
        )


def extremes(
    samples: Samples, X: NDArray[np.floating[Any]], rows: NDArray[np.intp] | None, task: Task
) -> Extremes | None:
    """The task's inputs beyond the bound of its network, or else beyond the usual bound.

    Args:
        samples: the source of the inputs, for the places.
        X: the inputs of shape (n, d), in the features' own units; NaN is missing.
        rows: which rows of the samples these are, of shape (n,); None: where they are is not known.
        task: its frozen first layer holds the fleet's means and deviations.

    Returns:
        None if there are none, or the survey has not been closed.
    """
    first = task.network.first
    if first is None:
        return None
    bound = USUAL if first.bound is None else first.bound
    means, scales = first.exact_means, first.scales.astype(np.float64)
    width = len(means)
    counts, farthest, where = np.zeros(width, np.int64), np.zeros(width), np.zeros(width, np.intp)
    beyond_rows = 0
    for start in range(0, len(X), BLOCK_ROWS):
        distances = np.abs(X[start : start + BLOCK_ROWS] - means) / scales
        beyond = distances > bound  # a missing value is not
        if not beyond.any():
            continue
        beyond_rows += int(np.count_nonzero(beyond.any(axis=1)))
        counts += np.count_nonzero(beyond, axis=0)
        seen = np.where(beyond, distances, 0.0)
        highest = seen.max(axis=0)
        where = np.where(highest > farthest, start + seen.argmax(axis=0), where)
        farthest = np.maximum(farthest, highest)
    order = np.argsort(-farthest, kind="stable")
    columns = tuple(
        Column(
            task.features[j],
            int(counts[j]),
            samples.name if rows is None else samples.place(int(rows[where[j]])),
            float(farthest[j]),
        )
        for j in map(int, order)
        if counts[j]
    )
    return Extremes(beyond_rows, bound, first.bound is not None, columns) if columns else None


def count_of(count: int) -> str:
    """A number of rows, as the subject of a sentence."""
    return "1 row lies" if count == 1 else f"{count:,} rows lie"
