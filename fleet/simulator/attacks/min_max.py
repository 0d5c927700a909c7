"""Min-max: as far from the honest mean as a lie gets that is nowhere farther from an honest update than two
honest ones are from each other.

Shejwalkar, Houmansadr 2021, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks and Defenses for
Federated Learning", NDSS, https://doi.org/10.14722/ndss.2021.24498, equation 4 and Algorithm 1. Every
attacker sends μ + γ d, with the mean μ of the honest changes, a direction d, and the largest γ for which

    max_i ‖μ + γ d - x_i‖ ≤ max_ij ‖x_i - x_j‖.

γ is searched as there, by steps that are halved, from 10 on (doubled while it passes), until it is known to
1e-5 of itself.
"""

from typing import Literal

import numpy as np

from fedge.algorithms.registry import Entry, Options
from fleet.simulator.attacks.alie import deviations
from fleet.simulator.attacks.attack import Attack, Knowledge, Matrix, Sent, State

FIRST = 10.0
"""The first γ that is tried."""
NEAR = 1e-5
"""The error of γ with which the search ends, as a share of γ."""


class MinMaxOptions(Options):
    """Options of min-max."""

    direction: Literal["std", "unit", "sign"] = "std"
    """d: `std`, -σ of each entry; `unit`, -μ/‖μ‖; `sign`, the opposite of μ's signs."""


class MinMax(Attack):
    """Every attacker sends μ + γ d."""

    omniscient = True

    def __init__(self, options: MinMaxOptions) -> None:
        self._direction = options.direction

    def changes(self, known: Knowledge, state: State) -> Sent:
        """As the class says."""
        seen = known.seen
        mean = seen.mean(axis=0)
        direction = self._of(seen, mean)
        lie = mean + largest_gamma(seen, mean, direction) * direction
        return Sent(np.tile(lie, (len(known.own), 1)))

    def _of(self, seen: Matrix, mean: Matrix) -> Matrix:
        if self._direction == "std":
            return -deviations(seen)
        if self._direction == "sign":
            return -np.sign(mean)
        length = float(np.linalg.norm(mean))
        return -mean / length if length else mean


def largest_gamma(rows: Matrix, mean: Matrix, direction: Matrix) -> float:
    """The largest γ of the module's condition, searched by doubling and halving; 0 if d is 0.

    Args:
        rows: x_i, of shape (n, p).
        mean: μ, of shape (p,).
        direction: d, of shape (p,).
    """
    off = mean - rows
    across = off @ direction
    square, squares = float(direction @ direction), np.einsum("ij,ij->i", off, off)
    if square == 0.0:
        return 0.0
    inner = off @ off.T  # ‖x_i - x_j‖² = ‖μ - x_i‖² + ‖μ - x_j‖² - 2 ⟨μ - x_i, μ - x_j⟩
    most = float((squares[:, None] + squares[None, :] - 2 * inner).max())

    def passes(gamma: float) -> bool:
        return bool((squares + 2 * gamma * across + gamma * gamma * square).max() <= most)

    low, high = 0.0, FIRST
    while passes(high):
        low, high = high, 2 * high
    while high - low > NEAR * high and high > np.finfo(np.float64).tiny:
        middle = (low + high) / 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low


ENTRY = Entry("attack", "min-max", MinMax, MinMaxOptions)
