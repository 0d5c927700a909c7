"""An audit of a mechanism in one run: a lower bound on its ε, from what canaries can be recognized by.

Steinke, Nasr and Jagielski 2023, "Privacy Auditing with One (1) Training Run", NeurIPS,
https://arxiv.org/abs/2305.08846. Of m canaries, each takes part with probability 1/2, independently. The
auditor sees the result and guesses for r of them whether they took part, where it is most sure. If the
mechanism is (ε, δ)-differentially private, then with f(v) = P(Binomial(r, e^ε / (1 + e^ε)) ≥ v) and their
Theorem 5.2

    P(v or more guesses are right) ≤ f(v) + 2 m δ max_{1 ≤ i ≤ m} (f(v - i) - f(v)) / i.

So an ε for which this is smaller than 5 % is refuted with 95 % confidence. Such a bound can show that a
mechanism is wrong. It never shows that one is right: a better auditor may find more.

r is fixed before the result is looked at.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_EPSILON = 50.0


@dataclass(frozen=True)
class Guesses:
    """What an auditor guessed."""

    right: int
    """v."""
    made: int
    """r."""
    canaries: int
    """m."""

    def epsilon(self, delta: float, confidence: float = 0.95) -> float:
        """A lower bound on ε, which is too large with a probability of at most 1 - `confidence`; 0: none.

        Args:
            delta: the δ that is claimed beside ε.
            confidence: in (0, 1).
        """
        if self.chance(0.0, delta) > 1 - confidence:
            return 0.0
        low, high = 0.0, MOST_EPSILON
        while high - low > 1e-6:
            middle = (low + high) / 2
            low, high = (middle, high) if self.chance(middle, delta) <= 1 - confidence else (low, middle)
        return low

    def chance(self, epsilon: float, delta: float) -> float:
        """The bound on the probability of so many right guesses, if the mechanism is (ε, δ)-private."""
        tails = _tails(self.made, 1 / (1 + math.exp(-epsilon)))
        at = tails[self.right]
        # With i > v, f(v - i) stays 1 and the quotient falls.
        steps = range(1, min(self.canaries, self.right + 1) + 1)
        most = max((tails[max(0, self.right - i)] - at) / i for i in steps)
        return at + 2 * self.canaries * delta * most


def guessed(scores: NDArray[np.float64], included: NDArray[np.bool_], made: int) -> Guesses:
    """Guess that the canaries with the highest scores took part, and those with the lowest did not.

    Args:
        scores: of each canary (m,), larger where it is likelier to have taken part.
        included: which ones did (m,).
        made: r, even and at most m.

    Raises:
        ValueError: r is odd, or larger than m.
    """
    if made % 2 or not 0 < made <= len(scores):
        raise ValueError(f"{made} guesses of {len(scores)} canaries, expected an even number up to that")
    order = np.argsort(scores, kind="stable")
    lowest, highest = order[: made // 2], order[-(made // 2) :]
    right = int((~included[lowest]).sum() + included[highest].sum())
    return Guesses(right, made, len(scores))


def _tails(trials: int, chance: float) -> list[float]:
    """P(Binomial ≥ v) for v = 0…trials."""
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(chance)
        + (trials - k) * math.log1p(-chance)
        for k in range(trials + 1)
    ]
    found, total = [0.0] * (trials + 1), 0.0
    for k in range(trials, -1, -1):  # the smallest first
        total += math.exp(logs[k])
        found[k] = min(1.0, total)
    return found
