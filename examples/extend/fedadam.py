"""FedAdam: the aggregate's change is a gradient for Adam, whose moments are the server's state.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar and McMahan, "Adaptive Federated Optimization", ICLR
2021, https://arxiv.org/abs/2003.00295, Algorithm 2. With Δ = aggregate - base: m ← β₁ m + (1 - β₁) Δ,
v ← β₂ v + (1 - β₂) Δ², w ← w + η m / (√v + τ). Fedge has it as `adam`, which begins v at τ² and not at 0.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.registry import Entry, Options


class AdamOptions(Options):
    """The settings of the optimizer."""

    rate: float = Field(default=0.01, gt=0, le=10)
    """η, the step size."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """β₁, the decay of the mean of the changes."""
    beta2: float = Field(default=0.99, ge=0, lt=1)
    """β₂, the decay of the mean of their squares."""
    tau: float = Field(default=1e-3, gt=0, le=1)
    """τ, the degree of adaptivity: smaller is more adaptive."""


class FedAdam:
    """Keeps its moments in float64, so that a large change does not swallow a small one."""

    def __init__(self, options: AdamOptions) -> None:
        self._options = options

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        return {"m": np.zeros(size), "v": np.zeros(size)}

    def step(
        self, base: NDArray[np.float32], aggregate: NDArray[np.float32], state: Any, share: float
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
        told = self._options
        change = np.subtract(aggregate, base, dtype=np.float64)
        m = told.beta1 * state["m"] + (1 - told.beta1) * change
        v = told.beta2 * state["v"] + (1 - told.beta2) * change * change
        model = base + told.rate * m / (np.sqrt(v) + told.tau)
        return model.astype(np.float32), {"m": m, "v": v}


ENTRY = Entry("server", "fedadam", FedAdam, AdamOptions)
