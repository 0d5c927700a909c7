"""Count, mean and sum of squared deviations of columns: a survey sends these instead of samples.

Moments of disjoint sets of samples merge without the samples: Chan, Golub and LeVeque, "Algorithms for
Computing the Sample Variance: Analysis and Recommendations", The American Statistician 37 (1983), 242-247,
equations 1.5 (merging) and 1.7 (the corrected two-pass sum).
"""

from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.errors import ProtocolError

Vector = NDArray[np.float64]
Mask = NDArray[np.bool_]

FEWEST = 20
"""The fewest values of a column; with fewer a device sends nothing about it."""
BLOCK_ROWS = 4_096
"""Rows measured at once, so that the float64 copies stay small, however many samples a device has."""
ROUNDING_UNITS = 8
"""A column that spreads over fewer float32 units of its mean is constant up to rounding, see
`is_constant`."""
FINE = 2.0**15
"""The largest mean in units of its spread at which float32 still has 256 steps in a spread, see `is_fine`."""
RARE = 0.01
"""The largest share of a column's values, on each side of the median, that can be faults of the sensor."""
GAP = 5.0
"""A fault is at least this many times as far from the median as the next value."""
SURPRISE = 7.0
"""A gap is no fault if the column's own tail has such a gap with a probability of more than e⁻⁷."""
FEWEST_APART = 10
"""The fewest values that differ from the median; with fewer, the weight of the tail is unknown."""
CODES = 3
"""The most different values by which a sensor reports faults; if there are more, they are measurements."""


@dataclass(frozen=True, eq=False, slots=True)
class Moments:
    """Moments of d columns; each array has shape (d,) and float64."""

    count: Vector
    """The number of measured values."""
    mean: Vector
    """In the column's own units; 0 where the count is 0."""
    m2: Vector
    """Σ (x - mean)², in the column's units squared."""

    def to_bytes(self) -> bytes:
        """Little-endian float64 of shape (3, d): counts, means, M2."""
        return np.stack((self.count, self.mean, self.m2)).astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, body: bytes, columns: int) -> "Moments":
        """The inverse of `to_bytes`; it does not check whether the numbers are plausible.

        Raises:
            ProtocolError: `body` is not 24 bytes a column.
        """
        if len(body) != 24 * columns:
            raise ProtocolError(
                f"moments of {columns} columns are {24 * columns} bytes (float64: counts, means, M2), "
                f"got {len(body)}"
            )
        count, mean, m2 = np.frombuffer(body, dtype="<f8").astype(np.float64).reshape(3, columns)
        return cls(count, mean, m2)


def withhold(moments: Moments, fewest: int) -> Moments:
    """Remove columns with fewer than `fewest` values: the mean of one value is that value."""
    enough = moments.count >= fewest
    return Moments(*(np.where(enough, part, 0.0) for part in (moments.count, moments.mean, moments.m2)))


def as_if_of(moments: Moments, samples: int, cap: int) -> Moments:
    """The moments of `samples` rows, with counts as of `cap` rows if that is fewer; means and spreads stay.

    If fewer rows were measured instead, whoever chooses the cap could have two sets measured that differ in
    one row.
    """
    if samples <= cap:
        return moments
    count = np.floor(moments.count * (cap / samples))
    return Moments(count, moments.mean, moments.m2 * (count / np.maximum(moments.count, 1)))


def is_constant(mean: Vector, spread: Vector, kept_as: type[np.floating[Any]] = np.float32) -> Mask:
    """Whether a column's spread comes only from rounding its values to the type they are kept as.

    In float32 a value of about `mean` is off by up to 2⁻²⁴ |mean|; with a spread of 8 units, 8 · 2⁻²³ |mean|,
    this is an error of 1/8 in a standardized value. In float64 the unit is 2⁻⁵² |mean|. Below the smallest
    normal float32 digits are lost as well.
    """
    unit = float(np.finfo(kept_as).eps) * np.abs(mean)
    return spread <= np.maximum(ROUNDING_UNITS * unit, float(np.finfo(np.float32).tiny))


def is_fine(mean: Vector, spread: Vector) -> Mask:
    """Whether a column's spread is too fine for float32 at its mean: |mean| > 2¹⁵ spreads.

    Rounding moves a value of about `mean` by up to 2⁻²⁴ |mean|, and a standardized one by more than 2⁻⁹,
    1/512, then. Such a column is kept in float64 until it is standardized.
    """
    return np.abs(mean) > FINE * spread


def rounded(moments: Moments, kept_as: type[np.floating[Any]] = np.float32) -> Moments:
    """Round moments to their useful digits, as a measurement is written: 23.4 ± 1.7.

    The spread is rounded to two significant digits, the mean to the last digit of that: to a step between a
    tenth and a hundredth of the spread, so that a standardized value is off by 0.05, and by a share of 0.05,
    at most. One more row of n moves the mean by 1/n of its distance from the mean, so n-times wider steps
    hide it from two surveys. A constant column is reported as it is, as float32.

    Args:
        moments: the measured moments.
        kept_as: the type of the measured values, which decides whether a column is constant.
    """
    spread = np.sqrt(moments.m2 / np.maximum(moments.count, 1))
    constant = is_constant(moments.mean, spread, kept_as)
    mean = moments.mean.astype(np.float32).astype(np.float64)
    for j in np.flatnonzero(~constant):
        digits, exponent = f"{spread[j]:.1e}".split("e")
        spread[j] = float(f"{digits}e{exponent}")
        mean[j] = round(float(moments.mean[j]), 1 - int(exponent))
    return Moments(moments.count, mean, np.where(constant, 0.0, moments.count * np.square(spread)))


@dataclass(frozen=True, eq=False)
class Bounds:
    """The range of each of d columns in which values count as they are; arrays of shape (d,)."""

    low: Vector
    high: Vector
    middle: Vector
    """The value that replaces one outside: the median."""
    beyond: NDArray[np.int64]
    """The number of values outside."""


def bounds(X: NDArray[Any]) -> Bounds:
    """The range of each column, without values that only a faulty sensor explains.

    A -99999 among good values is *rare*: of no more than 1 % of the values, or the only one; it is one of at
    most three different values on its side of the median; and it is *isolated*. A heavy tail is not
    isolated: of m distances from the median that have a tail of the power α, the logarithm of the farthest
    over the next one is exponential with mean 1/α (Rényi, "On the theory of order statistics", Acta
    Mathematica Hungarica 4 (1953), 191-231), and that of the next one over their median about ln(m) / α. So
    the first is more than 7 / ln(m) times the second with a probability of e⁻⁷, and a smaller one for lighter
    tails. A value that is farther away than that, and five times as far as the next one, is isolated.

    The tail is estimated from the values on the same side of the median, or on both sides if there are fewer
    than ten. If fewer than ten values differ from the median, a rare event and a fault look alike, and all
    values stay.

    Args:
        X: of shape (n, d); NaN is missing.
    """
    width = X.shape[1]
    low, high = np.full(width, -np.inf), np.full(width, np.inf)
    middle, beyond = np.zeros(width), np.zeros(width, np.int64)
    for j in range(width):
        values = X[:, j].astype(np.float64)
        values = values[~np.isnan(values)]
        if len(values) == 0:
            continue
        middle[j], rare = np.median(values), int(np.ceil(RARE * len(values)))
        below = np.sort(middle[j] - values[values < middle[j]])
        above = np.sort(values[values > middle[j]] - middle[j])
        under, over = _faults(below, above, rare), _faults(above, below, rare)
        if under + over:
            kept = np.sort(values)[under : len(values) - over]
            low[j], high[j], beyond[j] = kept[0], kept[-1], under + over
    return Bounds(low, high, middle, beyond)


def _faults(far: Vector, other: Vector, rare: int) -> int:
    """The number of faults on one side of the median; they are the farthest values.

    Args:
        far: their distances from the median, ascending.
        other: those of the other side, ascending.
        rare: how many may be faults on a side.
    """
    first = max(len(far) - rare, 0)
    nearer = np.concatenate(([0.0], far))[:-1]
    for at in first + np.flatnonzero(far[first:] > GAP * nearer[first:]):
        tail = far[:at]
        if len(tail) < FEWEST_APART:
            tail = np.concatenate((tail, other[: max(len(other) - rare, 0)]))
        if len(tail) < FEWEST_APART or len(np.unique(far[at:])) > CODES:
            continue
        farthest = float(tail.max())
        ratio = np.log(farthest / np.median(tail)) * SURPRISE / np.log(len(tail))
        if np.log(far[at] / farthest) > max(float(ratio), np.log(GAP)):
            return len(far) - int(at)
    return 0


def measure(X: NDArray[Any], within: Bounds | None = None) -> Moments:
    """Measure the columns of `X`, of shape (n, d); NaN means missing and does not count.

    A value outside the bounds counts as the column's median.

    Raises:
        ValueError: `X` is no matrix, or a column holds an infinite value.
    """
    if X.ndim != 2:
        raise ValueError(f"expected samples of shape (n, d), got shape {X.shape}")
    starts = range(0, max(len(X), 1), BLOCK_ROWS)
    return reduce(merge, (_measure_block(X[start : start + BLOCK_ROWS], start, within) for start in starts))


def _measure_block(X: NDArray[Any], start: int, within: Bounds | None) -> Moments:
    X = X.astype(np.float64)
    if (infinite := np.isinf(X)).any():
        row, column = np.argwhere(infinite)[0]
        raise ValueError(f"row {start + row}, column {column}: {X[row, column]} is no measurement")
    if within is not None:
        X = np.where(np.less(X, within.low) | np.greater(X, within.high), within.middle, X)
    missing = np.isnan(X)
    count = len(X) - missing.sum(axis=0, dtype=np.float64)
    divisor = np.maximum(count, 1)
    X[missing] = 0.0
    mean = X.sum(axis=0) / divisor
    X -= mean
    X[missing] = 0.0
    # In exact arithmetic the deviations sum to zero; their actual sum is the rounding error of the mean.
    rest = X.sum(axis=0)
    m2 = np.maximum(np.square(X, out=X).sum(axis=0) - rest * rest / divisor, 0.0)
    return Moments(count, mean + rest / divisor, np.where(count > 1, m2, 0.0))


def merge(a: Moments, b: Moments) -> Moments:
    """The moments of the samples of `a` and `b` together.

    Raises:
        ValueError: they have different numbers of columns.
    """
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"moments of {len(a.mean)} and of {len(b.mean)} columns cannot be merged")
    count = a.count + b.count
    share = b.count / np.maximum(count, 1)
    delta = b.mean - a.mean
    return Moments(count, a.mean + delta * share, a.m2 + b.m2 + delta * delta * (a.count * share))
