"""Find out whether devices, or the parts of a file, hold different classes, by the thresholds stated here.

Two mixes p and q of the k classes are compared by their total variation distance ½ Σ |p - q|: the share of
the rows that would have to be of another class. The expected distance by chance alone
(`aggregator.core.mixes`) is subtracted before it is compared with a threshold.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from agent.data.division import divide
from aggregator.core.mixes import chance
from fleet.trial.finding import Cause, Finding, names
from fleet.trial.table import Table

SKEWED = 0.3
"""The threshold of the mean distance between a device's classes and the fleet's, beyond chance."""
APART = 0.2
"""The threshold of the distance between a device's training and held-out part: the file is sorted by
class."""

Counts = Mapping[str, NDArray[np.int64]]


def counts(labels: NDArray[np.str_] | None, classes: Sequence[str]) -> NDArray[np.int64]:
    """How many of n labels are of each of k classes, shape (k,)."""
    if labels is None:
        return np.zeros(len(classes), np.int64)
    names, numbers = np.unique(labels, return_counts=True)
    found = dict(zip(names.tolist(), numbers.tolist(), strict=True))
    return np.array([found.get(name, 0) for name in classes], np.int64)


def distance(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Total variation distance between two counts of k classes, each of at least one row.

    >>> distance(np.array([1, 1, 0]), np.array([1, 1, 2]))
    0.5
    """
    return float(np.abs(one / one.sum() - other / other.sum()).sum() / 2)


def label_skew(by_device: Counts) -> Finding | None:
    """Whether devices hold other classes than the fleet does."""
    filled = {device: one for device, one in by_device.items() if one.sum()}
    whole = np.sum(list(filled.values()), axis=0)
    shares = whole / whole.sum()
    beyond = {
        device: max(0.0, distance(one, whole) - chance(shares, 1 / one.sum()))
        for device, one in filled.items()
    }
    mean = sum(beyond.values()) / len(beyond)
    if mean < SKEWED:
        return None
    worst = sorted(beyond, key=lambda device: -beyond[device])
    return Finding(
        Cause.LABEL_SKEW,
        f"the devices hold different classes: on average {mean:.0%} of a device's rows would have to be of "
        f"another class to match the fleet's shares; the farthest are {names(worst)}",
        "one epoch a round, as is proposed here, and many rounds (--rounds); record more classes on each "
        "device",
        mean,
        SKEWED,
        tuple(worst),
    )


def sorted_by_class(tables: Sequence[Table], classes: Sequence[str], holdout: float) -> Finding | None:
    """Whether the last rows of the devices, held out by time, are of other classes than the rest."""
    beyond: dict[str, float] = {}
    unknown = held_rows = 0
    for table in tables:
        if table.labels is None:
            continue
        answered = np.flatnonzero(table.labels != "")
        training, held = divide(table.series[answered], holdout, 0)
        labels = table.labels[answered]
        one, other = counts(labels[training], classes), counts(labels[held], classes)
        if not one.sum() or not other.sum():
            continue
        shares = (one + other) / (one + other).sum()
        by_chance = chance(shares, 1 / one.sum() + 1 / other.sum())
        beyond[table.device] = max(0.0, distance(one, other) - by_chance)
        unknown += int(other[one == 0].sum())
        held_rows += int(other.sum())
    if not beyond or (mean := sum(beyond.values()) / len(beyond)) < APART:
        return None
    worst = sorted((d for d in beyond if beyond[d] >= APART), key=lambda device: -beyond[device])
    return Finding(
        Cause.SORTED,
        f"the files are sorted by class: on average {mean:.0%} of the rows at a file's end would have to be "
        f"of another class to match the shares before them ({unknown} of {held_rows} are of classes that "
        f"those rows lack); the farthest are {names(worst)}",
        "hold out every n-th row (--by every), or name the column that says which recording a row belongs to "
        "(--series)",
        mean,
        APART,
        tuple(worst),
    )
