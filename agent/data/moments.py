"""Measures a device's columns for a survey, without values that only a fault of a sensor explains."""

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.data.moments import Bounds, Moments, bounds, is_fine, measure, rounded

log = logging.getLogger(__name__)

NOTHING: Mapping[int, NDArray[np.float64]] = MappingProxyType({})


def measured(
    X: NDArray[Any], names: Sequence[str], rest: Mapping[int, NDArray[np.float64]] = NOTHING
) -> Moments:
    """Compute the moments of columns, without faults, and round them.

    A column that is too fine for float32 (`fedge.data.moments.is_fine`) is measured with its `rest`, in
    float64. Faults are logged for the device's owner. They stay in the training data.

    Args:
        X: shape (n, d), the values rounded to float32; NaN is a missing value.
        names: the names of the d columns.
        rest: by column the rounding of its values to float32, shape (n,), where it is known.

    Raises:
        ValueError: a column holds an infinite value.
    """
    within = bounds(X)
    found = measure(X, within)
    fine = is_fine(found.mean, np.sqrt(found.m2 / np.maximum(found.count, 1)))
    moments = rounded(found)
    for j in (j for j in rest if fine[j]):
        exact = (X[:, j] + rest[j])[:, None]
        narrower = bounds(exact)
        alone = rounded(measure(exact, narrower), np.float64)
        for part, other in zip(_parts(moments), _parts(alone), strict=True):
            part[j] = other[0]
        for bound, one in zip(_sides(within), _sides(narrower), strict=True):
            bound[j] = one[0]
    _tell(within, names)
    return moments


def _parts(moments: Moments) -> tuple[NDArray[np.float64], ...]:
    return moments.count, moments.mean, moments.m2


def _sides(within: Bounds) -> tuple[NDArray[Any], ...]:
    return within.low, within.high, within.beyond


def _tell(within: Bounds, names: Sequence[str]) -> None:
    for j in np.flatnonzero(within.beyond):
        log.warning(
            "column %r: %d values are outside of %.6g … %.6g, where all others are; the survey counts them "
            "as the median, but they are trained on as they are; if they are not measurements, leave them "
            "empty, or exclude them with [data] missing_values or range",
            names[int(j)],
            within.beyond[j],
            within.low[j],
            within.high[j],
        )
