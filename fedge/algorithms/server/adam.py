"""FedAdam: each weight's step is divided by the root of the decayed mean of its squared changes.

Reddi et al. 2021, "Adaptive Federated Optimization", ICLR, https://arxiv.org/abs/2003.00295, Algorithm 2,
FedAdam: v ← β₂ v + (1 - β₂) Δ². The rest is in `fedge.algorithms.server.adaptive`. After Kingma and Ba
2015, "Adam: A Method for Stochastic Optimization", ICLR, without its correction of the bias.
"""

from fedge.algorithms.registry import Entry
from fedge.algorithms.server.adaptive import Adaptive, DecayedOptions, Vector


class Adam(Adaptive):
    """v forgets: each round counts by 1 - β₂, and less by β₂ in each later round."""

    def __init__(self, options: DecayedOptions) -> None:
        super().__init__(options)
        self._beta2 = options.beta2

    def squares(self, v: Vector, square: Vector) -> Vector:
        """β₂ v + (1 - β₂) Δ²."""
        return self._beta2 * v + (1 - self._beta2) * square


ENTRY = Entry("server", "adam", Adam, DecayedOptions)
