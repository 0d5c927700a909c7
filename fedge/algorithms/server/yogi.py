"""FedYogi: as `adam`, but v moves by a part of Δ² alone, so that it falls slowly after a large change.

Reddi et al. 2021, "Adaptive Federated Optimization", ICLR, https://arxiv.org/abs/2003.00295, Algorithm 2,
FedYogi: v ← v - (1 - β₂) Δ² sign(v - Δ²). The rest is in `fedge.algorithms.server.adaptive`. After
Zaheer, Reddi, Sachan, Kale and Kumar 2018, "Adaptive Methods for Nonconvex Optimization", NeurIPS.
"""

import numpy as np

from fedge.algorithms.registry import Entry
from fedge.algorithms.server.adaptive import Adaptive, DecayedOptions, Vector


class Yogi(Adaptive):
    """v moves towards Δ² by (1 - β₂) Δ², however far apart they are; it stays positive."""

    def __init__(self, options: DecayedOptions) -> None:
        super().__init__(options)
        self._beta2 = options.beta2

    def squares(self, v: Vector, square: Vector) -> Vector:
        """v - (1 - β₂) Δ² sign(v - Δ²)."""
        return v - (1 - self._beta2) * square * np.sign(v - square)


ENTRY = Entry("server", "yogi", Yogi, DecayedOptions)
