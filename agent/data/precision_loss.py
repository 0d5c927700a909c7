"""Finds columns that float32 rounds to few values, because their differences are small for their numbers.

Epoch seconds are about 1.7e9, where neighbouring float32 numbers are 128 apart. So 160 readings, one each
second, become three values.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEW = 1_000
"""A column that spreads over at least this many steps of float32 keeps enough for a model."""


def narrowed(X: NDArray[np.float32], columns: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Find columns that lose most of their values to float32.

    Such a column is recognised by the values that are left: they are neighbours in float32, and each occurs
    several times. A step of 1 does not count, because whole numbers lose nothing by it.

    Args:
        X: shape (n, d), rounded to float32; NaN is a missing value.
        columns: the numbers of the columns to examine.

    Returns:
        By column the number of different values that are left, and the number of all values.
    """
    found = {}
    for j in columns:
        values = X[:, j]
        values = values[np.isfinite(values)]
        if len(values) == 0:
            continue
        low, high = float(values.min()), float(values.max())
        step = float(np.spacing(np.float32(max(abs(low), abs(high)))))
        if step == 1 or not 0 < high - low < FEW * step:
            continue
        different = np.unique(values)
        if 2 * len(different) <= len(values) and float(np.median(np.diff(different))) <= step:
            found[j] = (len(different), len(values))
    return found
