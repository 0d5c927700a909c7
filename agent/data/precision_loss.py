"""Columns whose differences are too small for the size of their numbers: float32 rounds them to few values.

Epoch seconds are about 1.7e9, where neighbouring float32 numbers are 128 apart. So 160 readings, one a
second, become three values.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FEW = 1_000
"""A column that spreads over more steps of float32 keeps what a model can use."""


def narrowed(X: NDArray[np.float32], columns: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Columns that lose most of their values to float32: how many different ones are left, of how many.

    Such a column is recognised by what is left: values that are neighbours in float32, each several times. A
    step of 1 does not count, because whole numbers lose nothing by it.

    Args:
        X: of shape (n, d), rounded to float32; NaN is missing.
        columns: the numbers of the columns to examine.
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
