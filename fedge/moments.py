"""Count, mean and sum of squared deviations of columns: what a survey tells instead of samples.

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

FEWEST = 20
"""Values of a column that a device tells anything of at least."""
BLOCK_ROWS = 4_096
"""Rows measured at once, so that the float64 copies stay small however many samples a device holds."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Per column of d columns, each array of shape (d,) and float64."""

    count: Vector
    """Values measured: a whole number."""
    mean: Vector
    """In the column's own units; 0 where the count is 0."""
    m2: Vector
    """Σ (x - mean)², in the column's units squared."""

    def to_bytes(self) -> bytes:
        """Little-endian float64 of shape (3, d): counts, means, M2."""
        return np.stack((self.count, self.mean, self.m2)).astype("<f8").tobytes()

    @classmethod
    def from_bytes(cls, body: bytes, columns: int) -> "Moments":
        """The inverse of `to_bytes`; whether the numbers can be true is not judged here.

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
    """Say nothing of columns with fewer than `fewest` values: the mean of one value is that value."""
    enough = moments.count >= fewest
    return Moments(*(np.where(enough, part, 0.0) for part in (moments.count, moments.mean, moments.m2)))


def measure(X: NDArray[Any]) -> Moments:
    """Measure the columns of `X`, of shape (n, d); NaN means missing and is counted out of its column.

    Raises:
        ValueError: `X` is no matrix, or a column holds an infinite value.
    """
    if X.ndim != 2:
        raise ValueError(f"expected samples of shape (n, d), got shape {X.shape}")
    starts = range(0, max(len(X), 1), BLOCK_ROWS)
    return reduce(merge, (_measure_block(X[start : start + BLOCK_ROWS], start) for start in starts))


def _measure_block(X: NDArray[Any], start: int) -> Moments:
    X = X.astype(np.float64)
    if (infinite := np.isinf(X)).any():
        row, column = np.argwhere(infinite)[0]
        raise ValueError(f"row {start + row}, column {column}: {X[row, column]} is no measurement")
    missing = np.isnan(X)
    count = len(X) - missing.sum(axis=0, dtype=np.float64)
    divisor = np.maximum(count, 1)
    X[missing] = 0.0
    mean = X.sum(axis=0) / divisor
    X -= mean
    X[missing] = 0.0
    # In exact arithmetic the deviations sum to zero; what they do sum to is the rounding of the mean.
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
