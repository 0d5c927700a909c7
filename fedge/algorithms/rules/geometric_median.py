"""The geometric median of the updates, by the smoothed Weiszfeld algorithm; weighted by n_k.

Pillutla, Kakade and Harchaoui 2022, "Robust Aggregation for Federated Learning", IEEE Transactions on Signal
Processing 70, https://arxiv.org/abs/1912.13445, Algorithm 2 (RFA). With α_k = n_k / Σ n_k the result comes
near to the z with the smallest Σ α_k ‖z - x_k‖. Each step is a weighted mean:

    β_k = α_k / max(ν, ‖z - x_k‖),    z ← Σ β_k x_k / Σ β_k

with the smoothing ν. The paper leaves the first z open; here it is the coordinate-wise median, which liars
cannot move far, so that few steps are enough.

**Needs** n ≥ 2 f + 1 updates. **Assumes** that liars have less than half of Σ n_k. An n_k counts as at most
`[rounds] max_weight` times the median one; if liars may say so much, set `max_weight` to 1, or count f as
that many times more.

**Bound.** Let liars have the share α < 1/2 of Σ n_k, let c be any point, for example the honest mean, and r
the weighted mean distance of honest updates from it. Whatever the liars send, after any number of steps

    ‖z - c‖ ≤ (2 (1 - α) r + ‖z_0 - c‖ + ν / 2) / (1 - 2 α),

where z_0 is the coordinate-wise median. Proof idea: no step makes the smoothed sum g(z) of distances larger,
g is between the sum and ν / 2 more, and by the triangle inequality the sum at z is larger than at c by at
least (1 - 2 α) ‖z - c‖ - 2 (1 - α) r, and at z_0 by at most ‖z_0 - c‖. `median` bounds ‖z_0 - c‖.

**Cost** O(n p) a step: two iterations over the rows; a buffer of 32 MiB at most.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry
from fedge.algorithms.rules.median import median
from fedge.algorithms.rules.robust import Made, Robust, RobustOptions
from fedge.algorithms.rules.rows import Rows, distances, weighted_mean


class GeometricMedianOptions(RobustOptions):
    """Options of the geometric median."""

    steps: int = Field(default=8, ge=1, le=1000)
    """The steps of the Weiszfeld algorithm."""
    smoothing: float = Field(default=1e-6, gt=0, le=1e6, allow_inf_nan=False)
    """ν: a distance counts as at least this much."""


class GeometricMedian(Robust):
    """A weighted mean in which updates that are far away weigh less; a device counts by its last weight for
    a sample, as a share of the largest."""

    name = "geometric-median"
    weighted = True

    def __init__(self, options: GeometricMedianOptions) -> None:
        super().__init__(options)
        self._steps, self._smoothing = options.steps, options.smoothing

    def combine(self, rows: Rows, f: int, base: NDArray[np.float32], state: State) -> Made:
        """Take the steps from the coordinate-wise median."""
        point = median(rows)
        factors = [1.0] * rows.number
        for _ in range(self._steps):
            smoothed = [max(self._smoothing, far) for far in distances(rows, point)]
            closest = min(smoothed)
            factors = [closest / each for each in smoothed]
            weights = [n * factor for n, factor in zip(rows.weights, factors, strict=True)]
            point = weighted_mean(rows, weights)
        return Made(point, factors)


ENTRY = Entry("rule", "geometric-median", GeometricMedian, GeometricMedianOptions)
