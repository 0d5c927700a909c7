"""No optimizer: the aggregate is the next model, bit for bit, as in FedAvg and FedSGD.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS,
Algorithm 1: w_{t+1} ← Σ n_k/n · w_k.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.registry import Entry


class Average:
    """No optimizer: the aggregate is the next model, as in FedAvg."""

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No state."""
        return {}

    def step(
        self, base: NDArray[np.float32], aggregate: NDArray[np.float32], state: object
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
        """Return the aggregate."""
        return aggregate, {}


ENTRY = Entry("server", "average", Average)
