"""FedAdagrad: each weight's step is divided by the root of the sum of its squared changes.

Reddi et al. 2021, "Adaptive Federated Optimization", ICLR, https://arxiv.org/abs/2003.00295, Algorithm 2,
FedAdagrad: v ← v + Δ². The rest is in `fedge.algorithms.server.adaptive`. After Duchi, Hazan and Singer
2011, "Adaptive Subgradient Methods for Online Learning and Stochastic Optimization", JMLR 12.
"""

from pydantic import Field

from fedge.algorithms.registry import Entry
from fedge.algorithms.server.adaptive import Adaptive, AdaptiveOptions, Vector


class AdagradOptions(AdaptiveOptions):
    """Options of the step."""

    beta1: float = Field(default=0.0, ge=0, lt=1, allow_inf_nan=False)
    """β₁, the decay of m, the mean of the changes; 0, as in the paper's experiments: m = Δ."""


class Adagrad(Adaptive):
    """v only grows, so that the steps become smaller from round to round."""

    def squares(self, v: Vector, square: Vector) -> Vector:
        """v + Δ²."""
        return v + square


ENTRY = Entry("server", "adagrad", Adagrad, AdagradOptions)
