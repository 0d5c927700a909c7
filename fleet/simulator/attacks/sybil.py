"""Sybils: one attacker who has enrolled several devices, with one token, sends the same lie from each.

Fung, Yoon, Beschastnikh 2018, "Mitigating Sybils in Federated Learning Poisoning",
https://arxiv.org/abs/1808.04866; 2020, "The Limitations of Federated Learning in Sybil Settings", RAID.
Equal updates support each other where a rule looks for near neighbours.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.registry import Entry, Options
from fedge.data.moments import Moments
from fleet.simulator.attacks.attack import Attack, Knowledge, Sent, State


class SybilOptions(Options):
    """Options of Sybils."""

    of: str = "sign-flip"
    """The attack whose lie they tell, with its default options."""


class Sybil(Attack):
    """Every attacker sends what the first one sends in another attack.

    Raises:
        ValueError: there is no such attack, or it is this one.
    """

    def __init__(self, options: SybilOptions) -> None:
        from fleet.simulator.attacks.registry import attack  # it finds this file

        if options.of == ENTRY.name:
            raise ValueError("attack 'sybil': of: it is the attack itself; name another one")
        self._of = attack(options.of)
        self.omniscient, self.poisons = self._of.omniscient, self._of.poisons

    def changes(self, known: Knowledge, state: State) -> Sent:
        """As the class says."""
        sent = self._of.changes(known, state)
        return Sent(np.repeat(sent.changes[:1], len(known.own), axis=0), sent.state)

    def rows(
        self, X: NDArray[Any], y: NDArray[Any], outputs: int, seed: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """As of the other attack."""
        return self._of.rows(X, y, outputs, seed)

    def samples(self, samples: int) -> int:
        """As of the other attack."""
        return self._of.samples(samples)

    def survey(self, moments: Moments) -> Moments:
        """As of the other attack."""
        return self._of.survey(moments)


ENTRY = Entry("attack", "sybil", Sybil, SybilOptions)
