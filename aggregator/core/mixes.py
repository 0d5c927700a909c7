"""How far the devices' classes differ, and which ones the task lacks, if owners let devices tell them. Pure.

Two mixes p and q of classes are compared by their total variation distance ½ Σ |p - q|: the share of a
device's rows that would have to be of another class. It is half of the distance by which Zhao, Li, Lai, Suda,
Civin and Chandra 2018, "Federated Learning with Non-IID Data", arXiv:1806.00582, section 3, explain how far
FedAvg's weights drift apart. With few rows the distance is above 0 by chance alone: if n rows are drawn
from shares q, |p - q| of a class is √(2 q (1 - q) / (π n)) on average (the mean absolute deviation of the
normal distribution that approximates it). Half the sum of that is subtracted.

The fleet's mix is the mean of the devices' own mixes, whatever their numbers of rows. The figure is the lower
median of the distances. So one of n devices moves each other distance by 1/n and a small change of the
subtracted part, and the figure by that and one rank.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

SKEWED = 0.45
"""From this distance on classes differ much. Dirichlet mixes of ten classes in 75 rows, of which those with 5
rows or more are told, have .53 to .66 with α = .1 and .30 to .37 with α = 1 (`python -m benchmarks.plans`).
Below it, on four data sets, the plan for classes that differ little was never worse than the other
(`python -m benchmarks.class_skew`)."""
FEWEST = 3
"""The fewest devices that must tell their classes for a figure."""
SHOWN = 20
"""The largest number of names in one line; the most common come first."""

Shares = NDArray[np.float64]
Counts = Mapping[str, int]
"""Rows by class."""


@dataclass(frozen=True)
class Mix:
    """The classes that the devices of a survey told."""

    telling: int
    """The number of devices that told their classes."""
    surveyed: int
    skew: float | None
    """The lower median distance of a device's classes from the fleet's, 0 to 1; None: too few have told."""
    names: tuple[tuple[str, int], ...]
    """Each class that was told, and the number of devices with it; the most common first."""
    unknown: tuple[str, ...]
    """Those of them that the task does not have."""

    @property
    def is_skewed(self) -> bool:
        """Whether the devices' classes differ much."""
        return self.skew is not None and self.skew >= SKEWED

    def __str__(self) -> str:
        told = f"{self.telling} of {self.surveyed} devices tell their classes ([data] tell_classes): "
        told += _listing([f"'{name}' on {devices}" for name, devices in self.names])
        if self.skew is not None:
            told += f"; the median device has {self.skew:.0%} of its rows in other classes than the fleet"
        if self.unknown:
            unknown = _listing([f"'{name}'" for name in self.unknown])
            told += (
                f"; not in [model] classes: {unknown}. Rows of these are left out: "
                "add the classes and begin a new generation, or ask the owners to map them ([data] labels)"
            )
        return told


def mix_of(told: Mapping[str, Counts | None], classes: Sequence[str]) -> Mix | None:
    """The classes that the surveyed devices told; None if none told any.

    Args:
        told: rows by class of each surveyed device; None or empty: it did not tell.
        classes: the task's.
    """
    telling = {device: counts for device, counts in told.items() if counts and sum(counts.values())}
    if not telling:
        return None
    often = Counter(name for counts in telling.values() for name in counts)
    names = tuple(sorted(often.items(), key=lambda item: (-item[1], item[0])))
    return Mix(
        len(telling),
        len(told),
        skew_of(list(telling.values())) if len(telling) >= max(FEWEST, (len(told) + 1) // 2) else None,
        names,
        tuple(name for name, _ in names if name not in classes),
    )


def skew_of(counts: Sequence[Counts]) -> float:
    """How far the median device's classes are from the fleet's, beyond chance; each has at least one row.

    Memory grows with the told entries and not with classes times devices, because a liar can invent
    names.

    >>> skew_of([{"a": 400}, {"b": 400}, {"a": 200, "b": 200}])
    0.48...
    """
    place = {name: k for k, name in enumerate(sorted({name for each in counts for name in each}))}
    told = [
        (np.fromiter((place[name] for name in each), np.intp, len(each)), np.fromiter(each.values(), float))
        for each in counts
    ]
    fleet = np.zeros(len(place))
    for at, rows in told:
        fleet[at] += rows / rows.sum() / len(told)
    by_chance = chance(fleet, 1.0)
    found = []
    for at, rows in told:
        own, theirs = rows / rows.sum(), fleet[at]
        others = max(0.0, 1.0 - float(theirs.sum()))  # what the fleet has in classes that this one lacks
        apart = (float(np.abs(own - theirs).sum()) + others) / 2
        found.append(max(0.0, apart - by_chance / math.sqrt(rows.sum())))
    return median_low(found)


def chance(shares: Shares, per_row: float) -> float:
    """The expected distance of n rows that were drawn from `shares`, of shape (k,); `per_row` is 1/n.

    If another mix of m rows was drawn from them too, it is 1/n + 1/m.
    """
    return float(np.sqrt(2 * shares * (1 - shares) * per_row / math.pi).sum() / 2)


def _listing(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
