"""The coordinate-wise median of the updates.

Yin, Chen, Kannan Ramchandran and Bartlett 2018, "Byzantine-Robust Distributed Learning: Towards Optimal
Statistical Rates", ICML, https://arxiv.org/abs/1803.01498, Definition 1 and Algorithm 1 (option I): each
entry of the result is the median of the updates' entries; of an even number, the mean of the two in the
middle.

**Needs** n ≥ 2 f + 1 updates. **Assumes** that honest updates differ little and without skew in each
coordinate: with few devices whose labels differ much the median of a coordinate is often 0.

**Bound.** Whatever f < n / 2 liars send, each entry lies between the smallest and the largest of the honest
ones: n - f values are honest, and those in the middle have honest ones on both sides. And with the honest
mean x̄ and any set S of n - f honest updates

    ‖result - x̄‖² ≤ κ / |S| · Σ_{i in S} ‖x_i - x̄‖²,    κ = 4 (1 + f / (n - 2 f))²

(Allouah et al. 2023, https://arxiv.org/abs/2302.01772, table of κ, proofs in the appendix).

**Cost** O(n log n · p); a buffer of 32 MiB at most. Beside comparisons it takes one mean
of two values.
"""

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry
from fedge.algorithms.rules.robust import Made, Robust, RobustOptions
from fedge.algorithms.rules.rows import Rows, Vector, sorted_columns


def median_of(ordered: NDArray[np.float64]) -> Vector:
    """The median of each column of a matrix (n, b) that is sorted by rows, of shape (b,)."""
    low, high = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    found: Vector = (low + high) / 2  # float64 holds the sum of any two float32
    return found


class Median(Robust):
    """The median of each coordinate; a device counts by the share of coordinates whose middle it is."""

    name = "median"

    def combine(self, rows: Rows, f: int, base: NDArray[np.float32], state: State) -> Made:
        """Sort each coordinate, and take the middle."""
        made, hits = np.empty(rows.size), np.zeros(rows.number, np.int64)
        for place, block in rows.blocks():
            ordered = sorted_columns(block)
            low, high = ordered[(rows.number - 1) // 2], ordered[rows.number // 2]
            made[place] = median_of(ordered)
            hits += np.count_nonzero((low <= block) & (block <= high), axis=1)
        return Made(made, [int(each) / rows.size for each in hits])


def median(rows: Rows) -> Vector:
    """The median of each coordinate, of shape (p,)."""
    made = np.empty(rows.size)
    for place, block in rows.blocks():
        made[place] = median_of(sorted_columns(block))
    return made


ENTRY = Entry("rule", "median", Median, RobustOptions)
