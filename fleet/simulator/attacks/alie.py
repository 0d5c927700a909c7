"""ALIE, "a little is enough": in each entry the honest mean plus a few of the honest deviations.

Baruch, Baruch, Goldberg 2019, "A Little Is Enough: Circumventing Defenses For Distributed Learning", NeurIPS,
https://arxiv.org/abs/1902.06156, Algorithm 3: with n devices of which m attack, s = ⌊n/2 + 1⌋ - m honest ones
have to be farther from the mean than the attackers, so that a majority supports them, and

    z = max { z : Φ(z) < (n - m - s) / (n - m) }.

Every attacker sends μ + z σ, where μ and σ are the mean and the standard deviation (of n - m - 1 degrees of
freedom) of each entry. With few devices z is small: 0 with n = 12, m = 2. ByzFL therefore sets z = 1.5.
"""

from statistics import NormalDist

import numpy as np
from pydantic import Field

from fedge.algorithms.registry import Entry, Options
from fleet.simulator.attacks.attack import Attack, Knowledge, Matrix, Sent, State


class AlieOptions(Options):
    """Options of ALIE."""

    z: float | None = Field(default=None, allow_inf_nan=False)
    """How many deviations; None: as the paper computes it."""


class Alie(Attack):
    """Every attacker sends μ + z σ of the honest changes."""

    omniscient = True

    def __init__(self, options: AlieOptions) -> None:
        self._z = options.z

    def changes(self, known: Knowledge, state: State) -> Sent:
        """As the class says."""
        z = largest_z(known.devices, len(known.own)) if self._z is None else self._z
        seen = known.seen
        lie = seen.mean(axis=0) + z * deviations(seen)
        return Sent(np.tile(lie, (len(known.own), 1)))


def largest_z(devices: int, attackers: int) -> float:
    """The paper's z for n devices of which m attack; not below 0, and 0 where it is not defined.

    >>> round(largest_z(50, 24), 3)  # s = 2, and Φ(1.426) = 24/26
    1.426
    """
    honest = devices - attackers
    supporters = devices // 2 + 1 - attackers
    if honest < 1 or not 0 < supporters < honest:
        return 0.0
    return max(0.0, NormalDist().inv_cdf((honest - supporters) / honest))


def deviations(rows: Matrix) -> Matrix:
    """The standard deviation of each column, of n - 1 degrees of freedom, of shape (p,); 0 of one row."""
    found: Matrix = rows.std(axis=0, ddof=1) if len(rows) > 1 else np.zeros(rows.shape[1])
    return found


ENTRY = Entry("attack", "alie", Alie, AlieOptions)
