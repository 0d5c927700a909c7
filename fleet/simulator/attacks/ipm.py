"""Inner product manipulation: the opposite of the honest mean, made so small or so large that it passes.

Xie, Koyejo, Gupta 2020, "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product Manipulation",
UAI, https://arxiv.org/abs/1903.03936, section 4: u = -ε/(n - f) · Σ v_i over the n - f honest. A small ε
(.1 or .5) passes for one of the honest with Krum; a large one (100) turns the sign of the plain mean, for
which ε > (n - f)/f is enough.
"""

import numpy as np
from pydantic import Field

from fedge.algorithms.registry import Entry, Options
from fleet.simulator.attacks.attack import Attack, Knowledge, Sent, State


class IpmOptions(Options):
    """Options of inner product manipulation."""

    epsilon: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    """ε."""


class Ipm(Attack):
    """Every attacker sends -ε · mean of the honest changes."""

    omniscient = True

    def __init__(self, options: IpmOptions) -> None:
        self.epsilon = options.epsilon

    def changes(self, known: Knowledge, state: State) -> Sent:
        """As the class says."""
        lie = -self.epsilon * known.seen.mean(axis=0)
        return Sent(np.tile(lie, (len(known.own), 1)))


ENTRY = Entry("attack", "ipm", Ipm, IpmOptions)
