"""Label flip: the attackers train honestly on wrong labels, c becoming C - 1 - c of C classes.

Tolpegin, Truex, Gursoy, Liu 2020, "Data Poisoning Attacks Against Federated Learning Systems", ESORICS,
https://arxiv.org/abs/2007.08432; with this exchange of labels in Karimireddy, He, Jaggi 2022, "Byzantine-
Robust Learning on Heterogeneous Datasets via Bucketing", ICLR, https://arxiv.org/abs/2006.09365, section 6.
"""

from typing import Any

from numpy.typing import NDArray

from fedge.algorithms.registry import Entry
from fleet.simulator.attacks.attack import Attack


class LabelFlip(Attack):
    """Every row has the label C - 1 - c."""

    poisons = True

    def rows(
        self, X: NDArray[Any], y: NDArray[Any], outputs: int, seed: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """As the class says."""
        return X, outputs - 1 - y


ENTRY = Entry("attack", "label-flip", LabelFlip)
