"""Inflation of n_k: an attacker tells that it has very many rows, so that the mean is nearly its update.

A weighted mean trusts the n_k that a device tells: McMahan et al. 2017, "Communication-Efficient Learning of
Deep Networks from Decentralized Data", AISTATS, https://arxiv.org/abs/1602.05629, Algorithm 1. Portnoy,
Tirosh, Hendler 2022, "Towards Federated Learning With Byzantine-Robust Client Weighting", Applied Sciences
12(17), https://arxiv.org/abs/2004.04986, describe the attack.
"""

from pydantic import Field

from fedge.algorithms.registry import Entry, Options
from fleet.simulator.attacks.attack import Attack, Knowledge, Sent, State


class InflationOptions(Options):
    """Options of inflation."""

    samples: int = Field(default=1_000_000, ge=1)
    """The n_k that is told; by default the most that `[federation] max_samples` admits."""
    strength: float = Field(default=-1.0, allow_inf_nan=False)
    """What the change is multiplied by; 1: it is the honest one."""


class Inflation(Attack):
    """An attacker tells another n_k, and sends strength · own change."""

    def __init__(self, options: InflationOptions) -> None:
        self._samples, self._strength = options.samples, options.strength

    def samples(self, samples: int) -> int:
        """As the class says."""
        return self._samples

    def changes(self, known: Knowledge, state: State) -> Sent:
        """As the class says."""
        return Sent(self._strength * known.own)


ENTRY = Entry("attack", "inflation", Inflation, InflationOptions)
