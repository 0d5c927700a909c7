"""What a device measures of its columns for a survey: without what only a fault of a sensor explains."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.moments import Moments, bounds, measure, rounded

log = logging.getLogger(__name__)


def measured(X: NDArray[Any], names: Sequence[str]) -> Moments:
    """The moments of the columns of `X`, of shape (n, d), without faults and rounded; NaN is missing.

    What is taken for a fault is said in the log, for the device's owner: it stays in the training data.

    Raises:
        ValueError: a column holds an infinite value.
    """
    within = bounds(X)
    for j in np.flatnonzero(within.beyond):
        log.warning(
            "column %r: %d values lie outside of %.6g … %.6g, where all others are; the survey counts them "
            "as the median, but they are trained on as they are: leave them empty if they are no "
            "measurements, or name them in [data] missing_values or range",
            names[int(j)],
            within.beyond[j],
            within.low[j],
            within.high[j],
        )
    return rounded(measure(X, within))
