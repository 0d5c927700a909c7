"""Norm bounding: each change is shortened to a fixed length, and each device counts the same.

Sun, Kairouz, Suresh and McMahan 2019, "Can You Really Backdoor Federated Learning?",
https://arxiv.org/abs/1911.07963, section 4: with the changes d_k = w_k - base and the length M

    result = base + 1/n Σ d_k min(1, M / ‖d_k‖).

The paper may add noise; this rule does not.

**Needs** n ≥ 2 f + 1 updates to be of use. **Assumes** that honest changes are no longer than about M.
`[rounds] clip_norm` is relative to the median length of the round. M is absolute: it holds however many
devices of a round are liars, and however few take part.

**Bound.** Whatever f liars send instead of anything else, the result moves by at most 2 f M / n; and the
model moves by at most M in a round, by all devices together. Each term of the sum is at most M long.

**Cost** O(n p): two iterations over the rows; a buffer of 32 MiB at most.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry
from fedge.algorithms.rules.robust import Made, Robust, RobustOptions
from fedge.algorithms.rules.rows import Rows, clipped_mean, distances


class NormBoundOptions(RobustOptions):
    """Options of norm bounding."""

    length: float = Field(default=1.0, gt=0, le=1e30, allow_inf_nan=False)
    """M, the length up to which a change counts; `fedge rounds` tells the lengths of honest changes."""


class NormBound(Robust):
    """The mean of shortened changes; a device counts by the factor of its change."""

    name = "norm-bound"

    def __init__(self, options: NormBoundOptions) -> None:
        super().__init__(options)
        self._length = options.length

    def combine(self, rows: Rows, f: int, base: NDArray[np.float32], state: State) -> Made:
        """Shorten the changes, and take the mean."""
        start = base.astype(np.float64)
        far = distances(rows, start)
        factors = [1.0 if each <= self._length else self._length / each for each in far]
        return Made(clipped_mean(rows, start, factors), factors)


ENTRY = Entry("rule", "norm-bound", NormBound, NormBoundOptions)
