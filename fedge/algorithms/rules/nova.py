"""The normalized mean of FedNova: the mean change of a step, times the mean number of steps.

Wang, Liu, Liang, Joshi and Poor 2020, "Tackling the Objective Inconsistency Problem in Heterogeneous
Federated Optimization", NeurIPS, https://arxiv.org/abs/2007.07481, equations (7) to (9) and Algorithm 1. A
device of the local algorithm `nova` takes τ_k steps from w to w_k and sends v_k = w + (w_k - w) / τ_k. With
p_k = n_k / Σ n_k:

    w ← w + τ_eff (Σ p_k v_k - w),   τ_eff = Σ p_k τ_k

So a device counts by its samples and not by its steps, and the step of the round is as long as in FedAvg.

Σ p_k v_k has the shape of the sum of `fedge.algorithms.rules.mean`, in float64. τ_eff is the quotient of the
whole numbers Σ n_k τ_k and Σ n_k, rounded once. The result is computed in float64 and rounded once. So it is
a function of the set of updates.

**Bound.** n_k, τ_k and v_k are bounded before this rule sees them (`fedge.algorithms.rules.bounds`). A device
acts in two ways: by v_k, within the bound of the mean, times τ_eff; and by τ_k, on τ_eff alone. If the K - 1
others have equal n and τ, and m is `max_weight`, it raises τ_eff to at most (K - 1 + m²) / (K - 1 + m) times
theirs, and lowers it to no less than (K - 1) / (K - 1 + m) of theirs.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.contribution import Contribution
from fedge.algorithms.protocols import Combined, Rule, State, Updates
from fedge.algorithms.registry import Entry, Need
from fedge.algorithms.rules.mean import finish, partial

RULE = "nova/1"
"""The rule that a closed round records. A change of any bit needs a new version."""


class Nova(Rule):
    """The normalized mean of the bounded updates, in one pass."""

    version = RULE

    def aggregate(self, updates: Updates, base: NDArray[np.float32], state: State) -> Combined:
        """base + τ_eff (Σ p_k v_k - base), rounded once to the type of the base."""
        counted = _Counted(updates.lanes())
        mean, samples = finish(partial(counted), np.float64)
        effective = counted.steps / samples  # of whole numbers of any length: the nearest float
        return Combined((base + effective * (mean - base)).astype(base.dtype))


class _Counted:
    """The contributions, once; `steps` is Σ n_k τ_k of those that have passed, exactly."""

    def __init__(self, contributions: Iterator[Contribution]) -> None:
        self._contributions = contributions
        self.steps = 0

    def __iter__(self) -> Iterator[Contribution]:
        for contribution in self._contributions:
            self.steps += contribution.samples * contribution.steps
            yield contribution


ENTRY = Entry(
    "rule",
    "nova",
    Nova,
    needs=(Need("local", ("nova",), why="the rule multiplies by the steps that `nova` divides by"),),
)
