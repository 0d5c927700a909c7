"""Finds inputs far outside what the fleet has measured: how many rows, in which column, in which line.

The network clips them if its task says so. Then one impossible number (-9999 for "no reading") cannot spoil a
round. They are reported to the device's owner in any case, because only the owner knows what they are.
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
"""The number of rows examined at once, so that the float64 copies stay small."""


@dataclass(frozen=True)
class Column:
    """One column with inputs beyond the bound."""

    name: str
    """Its name in the task."""
    rows: int
    """The number of rows with such an input."""
    place: str
    """File and line of the farthest input. It stays on the device."""
    distance: float
    """The distance of the farthest input from the fleet's mean, in the fleet's standard deviations. It also
    stays on the device."""


@dataclass(frozen=True)
class Extremes:
    """The inputs beyond the bound."""

    rows: int
    """The number of rows with at least one such input, at least 1."""
    bound: float
    """The bound, in standard deviations."""
    clipped: bool
    """Whether the network clips inputs to the bound."""
    columns: tuple[Column, ...]
    """The columns with such inputs. The one with the farthest input comes first."""

    @property
    def what(self) -> str:
        """Say what the network does with them."""
        return "the network clips them there" if self.clipped else "the network does not clip them"

    @property
    def told(self) -> Public:
        """The text that is sent: counts, and a name from the task, but no distance, which is a value."""
        return public(
            "in {rows} of the rows an input is more than {bound:g} standard deviations from the fleet's "
            "mean, farthest in column {name!r}: correct these values or leave them out; if they are right, "
            "lower the learning rate",
            rows=self.rows,
            bound=self.bound,
            name=Known(self.columns[0].name),
        )


def extremes(
    samples: Samples, X: NDArray[np.floating[Any]], rows: NDArray[np.intp] | None, task: Task
) -> Extremes | None:
    """Find the inputs beyond the bound of the task's network; if it does not clip, beyond `USUAL`.

    Args:
        samples: the samples that the inputs are from, which give their places.
        X: the inputs, shape (n, d), in the features' own units; NaN is a missing value.
        rows: shape (n,), the numbers of these rows among the samples; None: not known.
        task: the task, whose frozen first layer holds the fleet's means and deviations.

    Returns:
        None if there are no such inputs, or if the survey has not been closed.
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
        beyond = distances > bound  # False for a missing value
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
    """Format a number of rows as the subject and verb of a sentence."""
    return "1 row is" if count == 1 else f"{count:,} rows are"
