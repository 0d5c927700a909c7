"""Gaussian noise instead of a change.

Blanchard, El Mhamdi, Guerraoui, Stainer 2017, "Machine Learning with Adversaries: Byzantine Tolerant Gradient
Descent", NeurIPS, https://arxiv.org/abs/1703.02757, section 5: gradients drawn from a normal distribution of
mean 0 and standard deviation 200. A change is a gradient times the learning rate.
"""

import numpy as np
from pydantic import Field

from fedge.algorithms.registry import Entry, Options
from fleet.simulator.attacks.attack import Attack, Knowledge, Sent, State


class GaussianOptions(Options):
    """Options of the Gaussian attack."""

    mean: float = Field(default=0.0, allow_inf_nan=False)
    """The mean of each entry."""
    std: float = Field(default=200.0, gt=0, allow_inf_nan=False)
    """The standard deviation of each entry."""


class Gaussian(Attack):
    """Each entry of each attacker's change is drawn from N(mean, std²)."""

    def __init__(self, options: GaussianOptions) -> None:
        self._mean, self._std = options.mean, options.std

    def changes(self, known: Knowledge, state: State) -> Sent:
        """As the class says."""
        rng = np.random.default_rng(known.seed)
        return Sent(rng.normal(self._mean, self._std, known.own.shape))


ENTRY = Entry("attack", "gaussian", Gaussian, GaussianOptions)
