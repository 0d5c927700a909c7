"""The geometric median of the updates: the point with the least sum of distances to them, weighted by n_k.

Pillutla, Kakade and Harchaoui, "Robust Aggregation for Federated Learning", IEEE Transactions on Signal
Processing 70 (2022), https://arxiv.org/abs/1912.13445, Algorithm 2: the smoothed Weiszfeld algorithm, which
computes one weighted mean a pass, with the weights n_k / max(smoothing, ‖w_k - z‖). Updates with less than
half of the total weight cannot move it arbitrarily far.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import Updates
from fedge.algorithms.registry import Entry, Options


class MedianOptions(Options):
    """The settings of the rule."""

    passes: int = Field(default=8, ge=1, le=100)
    """The number of passes over the updates after the first one, which computes the mean."""
    smoothing: float = Field(default=1e-6, gt=0, le=1)
    """The smallest distance that is used, so that no weight becomes infinite."""


class GeometricMedian:
    """Holds one update at a time; sums in float64 in a fixed order give the same bits each time."""

    version = "geometric-median/1"

    def __init__(self, options: MedianOptions) -> None:
        self._options = options

    def aggregate(self, updates: Updates, base: NDArray[np.float32]) -> NDArray[np.float32]:
        middle: NDArray[Any] | None = None
        for _ in range(self._options.passes + 1):
            total, weights = np.zeros(updates.size), 0.0
            for update in updates.lanes():
                far = 1.0
                if middle is not None:
                    difference = update.vector - middle
                    far = max(self._options.smoothing, float(np.sqrt(np.sum(difference * difference))))
                total += (update.samples / far) * update.vector.astype(np.float64)
                weights += update.samples / far
            middle = total / weights
        assert middle is not None
        return middle.astype(np.float32)


ENTRY = Entry("rule", "geometric-median", GeometricMedian, MedianOptions)
