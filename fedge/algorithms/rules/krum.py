"""Krum: the update that is nearest to the updates around it.

Blanchard, El Mhamdi, Guerraoui and Stainer 2017, "Machine Learning with Adversaries: Byzantine Tolerant
Gradient Descent", NeurIPS, https://papers.nips.cc/paper/6617, section 4. The score of an update is the sum of
its squared distances to the n - f updates that are nearest to it, itself included; the result is the update
with the smallest score. So it sums n - f - 1 others, where Blanchard et al. sum n - f - 2. It is the Krum of
Allouah et al. 2023 (below) and of their library byzfl: an update and its neighbours are as many as there are
honest updates, for which the bound below is proved. With one neighbour less the same proof gives
6 (n - f) / (n - 2 f - 1) in place of κ.

**Needs** n ≥ 2 f + 3 updates, the condition 2 f + 2 < n of Blanchard et al.; the bound below needs n > 2 f.
**Assumes** that honest updates are nearer to each other than to anything that a liar gains by: where devices'
data differ much, all but one device's data are lost in each round.

**Bound** (Allouah et al. 2023, https://arxiv.org/abs/2302.01772, table of κ, proofs in the appendix).
Whatever f liars send, for the mean x̄ of any set S of n - f honest updates, with
V = Σ_{i in S} ‖x_i - x̄‖² / |S|

    ‖result - x̄‖² ≤ κ V,    κ = 6 (1 + f / (n - 2 f)).

Proof idea: a score of an honest update is at most Σ_{j in S} ‖x_i - x_j‖², whose mean over S is 2 (n - f) V;
so the smallest score is no more. Of the n - f nearest ones of the chosen update n - 2 f or more are honest,
so its squared distance to x̄ is at most twice its mean squared distance to these, 4 V (n - f) / (n - 2 f), and
twice theirs to x̄, 2 V (n - f) / (n - 2 f).

**Ties** of scores go to the update whose entries have the smaller SHA-256; no name decides.

**Cost** O(n² p), and 40 n² bytes beside a buffer of 32 MiB at most.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry
from fedge.algorithms.rules.pairs import Pairs, pairs
from fedge.algorithms.rules.robust import Made, Robust, RobustOptions
from fedge.algorithms.rules.rows import Rows, mean_of_rows


def neighbours(number: int, f: int) -> int:
    """How many rows a score adds up the distances to, the row itself included, of this number of rows."""
    return max(1, number - f)


def ranked(found: Pairs, f: int, among: Sequence[int]) -> list[int]:
    """Some rows, the one with the smallest score first.

    Args:
        found: the distances of all rows.
        f: the malicious rows among them that are assumed.
        among: the rows that are left, in the `order` of `found`; the others do not count.
    """
    near = np.sort(found.squares[np.ix_(among, among)], axis=1)[:, : neighbours(len(among), f)]
    scores = np.zeros(len(among))
    for column in near.T:  # one after another, from the nearest, so that the order of the sum is fixed
        scores += column
    return [among[place] for place in np.argsort(scores, kind="stable")]


def mean_of_some(rows: Rows, chosen: Sequence[int]) -> Made:
    """The plain mean of the chosen rows, and who was chosen."""
    made = np.empty(rows.size)
    for place, block in rows.blocks():
        made[place] = mean_of_rows(block, chosen)
    return Made(made, [1.0 if row in set(chosen) else 0.0 for row in range(rows.number)])


class Krum(Robust):
    """The update with the smallest score; it counts, and no other."""

    name = "krum"

    @staticmethod
    def needed(f: int) -> int:
        """2 f + 3, the paper's bound."""
        return 2 * f + 3

    def combine(self, rows: Rows, f: int, base: NDArray[np.float32], state: State) -> Made:
        """Choose the row with the smallest score."""
        found = pairs(rows, base)
        return mean_of_some(rows, ranked(found, f, found.order)[:1])


ENTRY = Entry("rule", "krum", Krum, RobustOptions)
