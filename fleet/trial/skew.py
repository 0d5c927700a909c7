"""What is wrong with a fleet's data, measured: each cause that is named has crossed a threshold stated here.

Two shares p and q of the k classes are compared by their total variation distance ½ Σ |p - q|: the part of
the rows that would have to be of another class. Of few rows it is far from 0 by chance alone: where n rows
are drawn from shares q, |p - q| of a class is √(2 q (1 - q) / (π n)) on average (the mean absolute deviation
of the normal distribution that approximates it); where both are drawn, of n and of m rows, 1/n + 1/m stands
for 1/n. Half the sum of that is taken off before a threshold is asked.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from agent.division import divide
from agent.sentinels import Sentinel
from agent.sentinels import sentinels as suspected
from fedge.disclosure import listing
from fleet.figure import ACCURACY, Figure
from fleet.trial.table import Table

SKEWED = 0.3
"""Mean over the devices of the distance between a device's classes and the fleet's, beyond chance."""
APART = 0.2
"""The same of a device's training and held-out part: the file is sorted by class."""
GAPPY = 0.02
"""The part of all rows in which a value that is needed is missing."""
UNLIKE = 6.0
"""How far a device's mean of a column may lie from the median device's, in robust standard deviations."""
PART_UNLIKE = 0.1
"""In so many of the columns that must be so,"""
VERY_UNLIKE = 30.0
"""or in one column by so much."""
FEWEST_DEVICES = 4
"""Of fewer devices none can be unlike the others: two that agree may be the odd ones."""
FEW = 30
"""Rows of a class over the fleet below which it can hardly be learnt, or be measured."""
LAST = 0.2
"""The part of the rounds over which a model that has learnt what there is becomes no better."""
BETTER = 0.01
"""By so much: in accuracy, or as a part of the RMSE."""
MAD = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""


class Cause(StrEnum):
    """Why a fleet may learn badly."""

    LABEL_SKEW = "label skew"
    SORTED = "sorted by class"
    GAPS = "gaps"
    TOO_FEW = "too few rows"
    UNLIKE = "a device unlike the others"
    SENTINEL = "values that are no measurements"
    UNFINISHED = "learning was not over"


@dataclass(frozen=True)
class Finding:
    """A cause that was measured."""

    cause: Cause
    text: str
    """What was found and where, with its figure."""
    remedy: str
    """What to do."""
    value: float
    threshold: float
    devices: tuple[str, ...] = ()
    """Where it was found, the worst first; empty: everywhere."""


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


def chance(shares: NDArray[np.float64], per_row: float) -> float:
    """The distance to be expected of rows that were drawn from `shares`; `per_row` is 1/n, or 1/n + 1/m."""
    return float(np.sqrt(2 * shares * (1 - shares) * per_row / math.pi).sum() / 2)


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
        f"another class to be as the fleet's; the farthest are {_names(worst)}",
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
        f"of another class to be as the rows before them ({unknown} of {held_rows} are of classes that those "
        f"lack); the farthest are {_names(worst)}",
        "hold out every n-th row (--by every), or name the column that says which recording a row belongs to "
        "(--series)",
        mean,
        APART,
        tuple(worst),
    )


def lacking(tables: Sequence[Table], features: Sequence[str], answer: str) -> dict[str, int]:
    """In how many rows of each device a feature or the answer is missing."""
    found = {}
    for table in tables:
        absent = np.isnan(table.X[:, [table.columns.index(name) for name in features]]).any(axis=1)
        if table.labels is not None:
            absent |= table.labels == ""
        elif answer in table.columns:
            absent |= np.isnan(table.column(answer))
        found[table.device] = int(absent.sum())
    return found


def has_gaps(tables: Sequence[Table], features: Sequence[str], answer: str) -> bool:
    """Whether anything is missing at all."""
    return any(lacking(tables, features, answer).values())


def gaps(tables: Sequence[Table], features: Sequence[str], answer: str, missing: str) -> Finding | None:
    """Whether many rows have a missing value."""
    absent, rows = lacking(tables, features, answer), sum(map(len, tables))
    share = sum(absent.values()) / rows
    if share < GAPPY:
        return None
    size = {table.device: len(table) for table in tables}
    worst = sorted((d for d in absent if absent[d]), key=lambda device: -absent[device] / size[device])
    done = {"fill": "are filled with the fleet's means", "drop": "are left out"}.get(missing, "stop a device")
    return Finding(
        Cause.GAPS,
        f"{sum(absent.values())} of {rows} rows have a missing value and {done}; most are on {_names(worst)}",
        "mend the sensors; --missing drop and --missing fill are worth a try each",
        share,
        GAPPY,
        tuple(worst),
    )


def too_few(by_class: Mapping[str, int], held: int) -> list[Finding]:
    """Classes of which the fleet has few rows, and a held-out part that is too small to tell models apart."""
    found = []
    rare = [name for name, rows in by_class.items() if rows < FEW]
    if rare:
        least = min(by_class[name] for name in rare)
        named = ", ".join(f"{name} ({by_class[name]})" for name in rare[:5])
        found.append(
            Finding(
                Cause.TOO_FEW,
                f"few rows over all devices of {named}",
                f"record at least {FEW} rows of each class",
                least,
                FEW,
            )
        )
    if held < 2 * FEW:
        found.append(
            Finding(
                Cause.TOO_FEW,
                f"only {held} rows are held out on all devices together, so one row more or less is "
                f"{1 / max(held, 1):.1%}",
                "record more rows, or hold out a larger part (--holdout 0.3)",
                held,
                2 * FEW,
            )
        )
    return found


def unlike(tables: Sequence[Table], features: Sequence[str]) -> list[Finding]:
    """Devices of which the columns' means lie far from the other devices'.

    The unit is the largest of three spreads: of the other devices' means (MAD · 1.4826), within the median
    one of them, and of all their values together. So neither devices that differ by nature nor columns that
    are mostly the same value give an alarm. A column that is constant on all others says nothing.
    """
    if len(tables) < FEWEST_DEVICES or not features:
        return []
    found = []
    figures = {name: np.stack([_moments(table.column(name)) for table in tables]) for name in features}
    for k, table in enumerate(tables):
        away = sorted(((_away(figures[name], k), name) for name in features), reverse=True)
        far = [one for one in away if one[0] >= UNLIKE]
        if not far or (len(far) < PART_UNLIKE * len(features) and far[0][0] < VERY_UNLIKE):
            continue
        found.append(
            Finding(
                Cause.UNLIKE,
                f"{table.device} is unlike the others in {len(far)} of {len(features)} columns: its mean of "
                f"{far[0][1]!r} lies {far[0][0]:.0f} robust standard deviations from theirs",
                f"look at this sensor and its unit; or leave {table.device} out",
                far[0][0],
                UNLIKE,
                (table.device,),
            )
        )
    return found


def _moments(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """Count, mean and variance of what is there; NaN if nothing is."""
    present = values[~np.isnan(values)].astype(np.float64)
    if not len(present):
        return np.array([0.0, np.nan, np.nan])
    return np.array([len(present), present.mean(), present.var()])


def _away(figures: NDArray[np.float64], k: int) -> float:
    """How many units device k's mean lies from the median one; `figures` as `_moments`, of shape (n, 3)."""
    others = np.delete(figures, k, axis=0)
    others = others[others[:, 0] > 0]
    if len(others) < FEWEST_DEVICES - 1 or not figures[k, 0]:
        return 0.0
    count, means, variances = others.T
    middle, whole = float(np.median(means)), float((count * means).sum() / count.sum())
    together = math.sqrt(float((count * (variances + np.square(means - whole))).sum() / count.sum()))
    between = MAD * float(np.median(np.abs(means - middle)))
    unit = max(between, math.sqrt(float(np.median(variances))), together)
    return abs(float(figures[k, 1]) - middle) / unit if unit > 0 else 0.0


def sentinels(tables: Sequence[Table], columns: Sequence[str]) -> list[Finding]:
    """Numbers that loggers write for "no reading", by the thresholds of `agent.sentinels`, over the fleet.

    Each is told once, with the columns that it stands in.
    """
    by_value: dict[float, list[tuple[str, Sentinel]]] = {}
    for name in columns:
        values = np.concatenate([table.column(name) for table in tables])
        for one in suspected(values[:, None]):
            by_value.setdefault(one.value, []).append((name, one))
    every = ",".join(f"{value:.10g}" for value in by_value)
    remedy = f"--data missing_values=[{every}] if it means that nothing was measured"
    return [_sentinel(tables, value, found, remedy) for value, found in by_value.items()]


def _sentinel(
    tables: Sequence[Table], value: float, found: Sequence[tuple[str, Sentinel]], remedy: str
) -> Finding:
    often = {
        table.device: sum(int((table.column(name) == np.float32(value)).sum()) for name, _ in found)
        for table in tables
    }
    where = sorted((device for device in often if often[device]), key=lambda device: -often[device])
    away = max(max(one.low - value, value - one.high) / max(one.high - one.low, 1e-30) for _, one in found)
    told = listing(
        [f"{name!r} ({one.count} times; all others {one.low:g} to {one.high:g})" for name, one in found]
    )
    return Finding(
        Cause.SENTINEL,
        f"{value:.10g} stands in column{'s' * (len(found) > 1)} {told}, on {_names(where)}: it looks like a "
        "sign for no reading, and is learnt as a measurement",
        remedy,
        away,
        0.0,
        tuple(where),
    )


def unfinished(figure: Figure, curve: Sequence[float]) -> Finding | None:
    """Whether the model was still becoming better: the last fifth of the rounds against the fifth before.

    Args:
        figure: what is measured.
        curve: of the model after each round, the newest last.
    """
    part = max(1, round(LAST * len(curve)))
    if len(curve) < 2 * part:
        return None
    before, last = (sum(some) / part for some in (curve[-2 * part : -part], curve[-part:]))
    better = last - before if figure is ACCURACY else (before - last) / before if before else 0.0
    if better < BETTER:
        return None
    return Finding(
        Cause.UNFINISHED,
        f"the model was still becoming better: {figure.title} went from {figure.shown(before)} to "
        f"{figure.shown(last)} in the last {f'{part} rounds' if part > 1 else 'round'}",
        "more rounds (--rounds, --seconds)",
        better,
        BETTER,
    )


def _names(devices: Sequence[str], most: int = 3) -> str:
    more = f" and {len(devices) - most} more" if len(devices) > most else ""
    return ", ".join(devices[:most]) + more
