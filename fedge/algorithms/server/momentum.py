"""FedAvgM: the round's change passes through momentum on the server.

Hsu, Qi and Brown 2019, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification", https://arxiv.org/abs/1909.06335, section 4.3: v ← β v + Δ, w ← w - v, with
Δ = base - aggregate. Here the step has a rate too: w ← base - η v. With β = 0 it is `average` of this rate.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry, Options


class MomentumOptions(Options):
    """Options of the step."""

    momentum: float = Field(default=0.9, ge=0, lt=1, allow_inf_nan=False)
    """β, the share of earlier changes in a step. Steady changes Δ add up to Δ / (1 - β)."""
    rate: float = Field(default=1.0, gt=0, le=10, allow_inf_nan=False)
    """η, the server's learning rate."""


class Momentum:
    """Keeps v, of shape (size,) in float64: the decayed sum of the changes, in the units of the weights."""

    def __init__(self, options: MomentumOptions) -> None:
        self._options = options

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """v = 0."""
        return {"v": np.zeros(size)}

    def step(
        self, base: NDArray[np.float32], aggregate: NDArray[np.float32], state: State, share: float = 1.0
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
        """Return w - η v, computed in float64 and rounded once to the type of the base, and the next v."""
        v = self._options.momentum * state["v"] + np.subtract(base, aggregate, dtype=np.float64)
        return (base - self._options.rate * v).astype(base.dtype), {"v": v}


ENTRY = Entry("server", "momentum", Momentum, MomentumOptions)
