"""Nearest neighbour mixing: each update is replaced by the mean of its n - f nearest ones, before a rule.

Allouah, Farhadkhani, Guerraoui, Gupta, Pinot and Stephan 2023, "Fixing by Mixing: A Recipe for Optimal
Byzantine ML under Heterogeneity", AISTATS, https://arxiv.org/abs/2302.01772, Algorithm 2: y_i is the mean of
the n - f updates that are nearest to x_i, x_i itself among them.

**Assumes** f < n / 2. **Bound** (the paper's lemma on the composition with nearest neighbour mixing): if a
rule F is (f, κ)-robust, that is, if for each set S of n - f updates with the mean x̄

    ‖F(x_1, …, x_n) - x̄‖² ≤ κ / |S| · Σ_{i in S} ‖x_i - x̄‖²,

then F of the mixed updates is so with 8 f / (n - f) · (κ + 1) in place of κ. So where the honest updates
differ because their data do, the error falls with f / n.

**Cost** O(n² p) for the distances, and as much for the means each time that the rule goes through the rows;
40 n² bytes.
"""

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.rules.pairs import pairs
from fedge.algorithms.rules.rows import Rows


def neighbourhoods(rows: Rows, f: int, base: NDArray[np.float32]) -> list[list[int]]:
    """For each row its n - f nearest ones, itself included, in an order without names (`Pairs.order`)."""
    return pairs(rows, base).nearest(rows.number - f)
