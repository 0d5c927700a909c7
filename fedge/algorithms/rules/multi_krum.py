"""Multi-Krum: the mean of the n - f updates with the smallest scores of Krum.

Blanchard, El Mhamdi, Guerraoui and Stainer 2017, "Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent", NeurIPS, https://papers.nips.cc/paper/6617, the variant with m > 1, for m = n - f. The
scores are those of `fedge.algorithms.rules.krum`, computed once.

**Needs** n ≥ 2 f + 3 updates. **Assumes** the same as Krum, and loses less where nobody lies.

**Bound.** That of Krum: for the mean x̄ of any set S of n - f honest updates

    ‖result - x̄‖² ≤ 6 (1 + f / (n - 2 f)) · Σ_{i in S} ‖x_i - x̄‖² / |S|.

Proof idea: the k-th smallest score is at most the k-th smallest bound of an honest one, so the scores of the
n - f chosen add up to at most 2 (n - f)² V, where V is the mean on the right. Each chosen update is as near
to x̄ as its score says, as in Krum, and the mean of points is not farther than their mean squared distance.

**Ties** as in Krum. **Cost** O(n² p), and 40 n² bytes beside a buffer of 32 MiB at most.
"""

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry
from fedge.algorithms.rules.krum import Krum, mean_of_some, ranked
from fedge.algorithms.rules.pairs import pairs
from fedge.algorithms.rules.robust import Made, RobustOptions
from fedge.algorithms.rules.rows import Rows


class MultiKrum(Krum):
    """The mean of the updates with the smallest scores; these count."""

    name = "multi-krum"

    def combine(self, rows: Rows, f: int, base: NDArray[np.float32], state: State) -> Made:
        """Choose n - f rows, and take their mean."""
        found = pairs(rows, base)
        return mean_of_some(rows, ranked(found, f, found.order)[: rows.number - f])


ENTRY = Entry("rule", "multi-krum", MultiKrum, RobustOptions)
