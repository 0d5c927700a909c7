"""Norm bounding: each change is shortened to a length, and each device counts the same.

Sun, Kairouz, Suresh and McMahan 2019, "Can You Really Backdoor Federated Learning?",
https://arxiv.org/abs/1911.07963, section 4: with the changes d_k = w_k - base and the length M

    result = base + 1/n Σ d_k min(1, M / ‖d_k‖).

The paper may add noise; this rule does not.

**Needs** n ≥ 2 f + 1 updates to be of use. **Assumes** that honest changes are no longer than about M.

**Length.** Without the option `length`, M is the lower median length of the round's changes, so it needs no
guess. It lies between the shortest and the longest honest change, because more than half of the updates are
honest. With the option, M is absolute, in the units of the weights: it holds even if most of a round's
devices are liars.

**Bound.** The model moves by at most M in a round, by all devices together, and each device adds at most M /
n to the sum: each term is at most M long. So where M is absolute, the result moves by at most 2 f M / n,
whatever f liars send instead of anything else. Without it let a and b be the shortest and the longest honest
length: M is between a and b, so the result moves by at most 2 f b / n + (b - a) (n - f) / n, of which the
second term is how far M itself can be moved.

**Cost** O(n p): two iterations over the rows; a buffer of 32 MiB at most.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry
from fedge.algorithms.rules.robust import Made, Robust, RobustOptions
from fedge.algorithms.rules.rows import Rows, clipped_mean, distances, factors


class NormBoundOptions(RobustOptions):
    """Options of norm bounding."""

    length: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    """M, the length up to which a change counts, in the units of the weights. Without it, the median length
    of the round's changes."""


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
        parts = factors(far, self._length)
        return Made(clipped_mean(rows, start, parts), parts)


ENTRY = Entry("rule", "norm-bound", NormBound, NormBoundOptions)
