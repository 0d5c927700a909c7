"""Find problems of sensors: gaps, numbers that are no measurements, a device unlike the others."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.data.sentinels import Sentinel
from agent.data.sentinels import sentinels as suspected
from fedge.data.disclosure import listing
from fleet.trial.finding import Cause, Finding, names
from fleet.trial.table import Table

GAPPY = 0.02
"""The share of rows without a needed value from which gaps are reported."""
UNLIKE = 6.0
"""How far a device's mean of a column may be from the median device's, in robust standard deviations,"""
PART_UNLIKE = 0.1
"""in this share of the columns,"""
VERY_UNLIKE = 30.0
"""or how far in a single column."""
FEWEST_DEVICES = 4
"""With fewer devices none is reported, because the majority is too small to be a reference."""
MAD = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""


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


def gaps(tables: Sequence[Table], features: Sequence[str], answer: str, missing: str) -> Finding | None:
    """Whether many rows have a missing value."""
    absent, rows = lacking(tables, features, answer), sum(map(len, tables))
    share = sum(absent.values()) / rows
    if share < GAPPY:
        return None
    size = {table.device: len(table) for table in tables}
    worst = sorted((d for d in absent if absent[d]), key=lambda device: -absent[device] / size[device])
    done = {
        "fill": "it is replaced by the fleet's mean, and a row without an answer is left out",
        "drop": "they are left out",
    }.get(missing, "a device with such a row cannot train")
    return Finding(
        Cause.GAPS,
        f"{sum(absent.values())} of {rows} rows have a missing value: {done}; most are on {names(worst)}",
        "repair the sensors, and compare --missing drop with --missing fill",
        share,
        GAPPY,
        tuple(worst),
    )


def unlike(tables: Sequence[Table], features: Sequence[str]) -> list[Finding]:
    """Devices whose columns' means are far from the other devices'.

    The unit is the largest of three spreads: of the other devices' means (MAD · 1.4826), within the median
    one of them, and of all their values together. So neither devices that differ by nature nor columns with
    mostly the same value give an alarm. A column that is constant on all others does not count.
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
    """Count, mean and variance of the values; NaN if there are none."""
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
    """Numbers that loggers write for "no reading", over the fleet, by the bounds of `agent.data.sentinels`.

    Each is reported once, with its columns.
    """
    by_value: dict[float, list[tuple[str, Sentinel]]] = {}
    for name in columns:
        values = np.concatenate([table.column(name) for table in tables])
        for one in suspected(values[:, None]):
            by_value.setdefault(one.value, []).append((name, one))
    every = ",".join(f"{value:.10g}" for value in by_value)
    remedy = f"--data missing_values=[{every}] if this value means a missing reading"
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
        f"{value:.10g} is in column{'s' * (len(found) > 1)} {told}, on {names(where)}: it looks like a "
        "code for a missing reading, but is learnt as a measurement",
        remedy,
        away,
        0.0,
        tuple(where),
    )
