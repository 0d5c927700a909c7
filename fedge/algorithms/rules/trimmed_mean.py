"""The coordinate-wise trimmed mean of the updates.

Yin, Chen, Kannan Ramchandran and Bartlett 2018, "Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates", ICML, https://arxiv.org/abs/1803.01498, Definition 2 and Algorithm 1 (option II), with
β = f / n: in each coordinate the f lowest and the f highest values are dropped, and the mean of the others is
taken.

**Needs** n ≥ 2 f + 1 updates. **Assumes** that honest updates differ little in each coordinate.

**Bound.** Whatever f liars send, each entry lies between the smallest and the largest of the honest ones: a
liar's value that is not dropped has an honest one, or the end of the honest ones, on both sides. And for the
mean x̄ of any set S of n - f honest updates

    ‖result - x̄‖² ≤ κ / |S| · Σ_{i in S} ‖x_i - x̄‖²,    κ = 6 f / (n - 2 f) · (1 + f / (n - 2 f))

(Allouah et al. 2023, https://arxiv.org/abs/2302.01772, table of κ, proofs in the appendix).

**Cost** O(n log n · p); a buffer of 32 MiB at most. The values that are left are added in their order of size
in float64, so the result does not depend on names.
"""

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry
from fedge.algorithms.rules.robust import Made, Robust, RobustOptions
from fedge.algorithms.rules.rows import Rows, mean_of_slices, sorted_columns


class TrimmedMean(Robust):
    """The trimmed mean of each coordinate; a device counts by the share of coordinates that kept it."""

    name = "trimmed-mean"

    def combine(self, rows: Rows, f: int, base: NDArray[np.float32], state: State) -> Made:
        """Sort each coordinate, drop f at both ends, and take the mean."""
        made, kept = np.empty(rows.size), np.zeros(rows.number, np.int64)
        for place, block in rows.blocks():
            ordered = sorted_columns(block)[f : rows.number - f]
            made[place] = mean_of_slices(ordered)
            kept += np.count_nonzero((ordered[0] <= block) & (block <= ordered[-1]), axis=1)
        return Made(made, [int(each) / rows.size for each in kept])


ENTRY = Entry("rule", "trimmed-mean", TrimmedMean, RobustOptions)
