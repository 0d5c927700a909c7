"""What `adagrad`, `adam` and `yogi` have in common: a step that is scaled for each weight by earlier changes.

Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar and McMahan 2021, "Adaptive Federated Optimization",
ICLR, https://arxiv.org/abs/2003.00295, Algorithm 2. With Δ = aggregate - base, for each weight:

    m ← β₁ m + (1 - β₁) Δ
    v ← as each method says, from v and Δ²
    w ← base + η m / (√v + τ)

m begins at 0 and v at τ². The paper corrects no bias of m or v, and neither is it done here.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Options

Vector = NDArray[np.float64]


class AdaptiveOptions(Options):
    """The options that all three have."""

    rate: float = Field(default=0.01, gt=0, le=10, allow_inf_nan=False)
    """η, the server's learning rate: about the most that a weight moves in a round."""
    beta1: float = Field(default=0.9, ge=0, lt=1, allow_inf_nan=False)
    """β₁, the decay of m, the mean of the changes."""
    tau: float = Field(default=1e-3, ge=1e-9, le=1, allow_inf_nan=False)
    """τ, in the units of the weights: changes much smaller than τ are hardly scaled up."""


class DecayedOptions(AdaptiveOptions):
    """The options of those whose v has a decay too."""

    beta2: float = Field(default=0.99, ge=0, lt=1, allow_inf_nan=False)
    """β₂, the decay of v."""


class Adaptive(ABC):
    """Keeps m and v, each of shape (size,) in float64, which holds the square of any float32."""

    def __init__(self, options: AdaptiveOptions) -> None:
        self._rate, self._beta1, self._tau = options.rate, options.beta1, options.tau

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """m = 0, v = τ²."""
        return {"m": np.zeros(size), "v": np.full(size, self._tau**2)}

    def step(
        self, base: NDArray[np.float32], aggregate: NDArray[np.float32], state: State, share: float = 1.0
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
        """Return base + η m / (√v + τ), computed in float64 and rounded once to the type of the base."""
        change = np.subtract(aggregate, base, dtype=np.float64)
        m = self._beta1 * state["m"] + (1 - self._beta1) * change
        v = self.squares(state["v"], change * change)
        return (base + self._rate * m / (np.sqrt(v) + self._tau)).astype(base.dtype), {"m": m, "v": v}

    @abstractmethod
    def squares(self, v: Vector, square: Vector) -> Vector:
        """The next v, (size,), from v and Δ²; neither is changed."""
