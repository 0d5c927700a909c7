"""Finds numbers that a logger writes when it has no reading: -9999, 65535, 85 of a thermometer, 4294967295.

Such a number is the lowest or the highest of its column, repeats exactly, and is far from the other values.
These numbers are only reported. Only the owner knows whether one is a measurement, so it stays in the data
until `[data] missing_values` or `range` excludes it. A number that occurs once is found in the way in which
the survey finds faults (`fedge.data.moments.bounds`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedge.data.moments import CODES, FEWEST_APART, bounds

_CODES = (-32768, -9999, -999, -200, -127, -99, 85, 127, 999, 9999, 32767, 65535, 99999, 2**31 - 1, 2**32 - 1)
KNOWN = frozenset(float(np.float32(code)) for code in _CODES)
"""Numbers that sensors and loggers are known to write; 85 and -127 are the DS18B20's."""
FEWEST_VALUES = 20
"""If a column has fewer values, nothing is reported."""
SAMPLE = 50_000
"""How many of the other values are examined for their spread."""
FAR = 999.0
"""A known number of at least this size is reported even if the column has few different values."""


@dataclass(frozen=True)
class Sentinel:
    """A number that is probably not a measurement."""

    column: int
    value: float
    count: int
    first: int
    """The first row that has it."""
    low: float
    """The lowest of the column's other values."""
    high: float
    """The highest of them."""


def sentinels(X: NDArray[np.float32], columns: Sequence[int] | None = None) -> tuple[Sentinel, ...]:
    """Find such numbers, in the order of the columns.

    Args:
        X: shape (n, d); NaN is a missing value.
        columns: the numbers of the columns to examine; None: all.
    """
    return tuple(
        found for j in (range(X.shape[1]) if columns is None else columns) for found in _of_column(j, X[:, j])
    )


def _of_column(j: int, column: NDArray[np.float32]) -> list[Sentinel]:
    rest = column[np.isfinite(column)]
    codes: list[float] = []
    while len(codes) < CODES and len(rest) >= FEWEST_VALUES:
        low, high = float(rest.min()), float(rest.max())
        for code in (low, high):
            others = rest[rest != np.float32(code)]
            if _is_apart(code, len(rest) - len(others), others):
                codes.append(code)
                rest = others
                break
        else:
            break
    if not codes and len(rest) >= FEWEST_VALUES:
        within = bounds(rest[:, None])
        beyond = rest[(rest < within.low[0]) | (rest > within.high[0])]
        codes = [float(code) for code in np.unique(beyond)]
        rest = rest[(rest >= within.low[0]) & (rest <= within.high[0])]
    return [
        Sentinel(
            j,
            code,
            int((column == np.float32(code)).sum()),
            int((column == np.float32(code)).argmax()),
            float(rest.min()),
            float(rest.max()),
        )
        for code in codes
    ]


def _is_apart(code: float, count: int, others: NDArray[np.float32]) -> bool:
    """Whether a column's lowest or highest number, `code`, is too far from the `others` to be one of them."""
    if count < 2 or len(others) < FEWEST_VALUES // 2:
        return False
    low, high = float(others.min()), float(others.max())
    gap = low - code if code < low else code - high
    some = others[:: max(len(others) // SAMPLE, 1)].astype(np.float64)
    if len(np.unique(some)) < FEWEST_APART:
        middle = abs(float(np.median(some)))
        return code in KNOWN and abs(code) >= FAR and gap > 10 * max(high - low, middle, 1.0)
    quarter, three_quarters = np.quantile(some, (0.25, 0.75))
    near = float(three_quarters - quarter) if code in KNOWN else 0.0
    return gap > (near if near > 0 else high - low)
