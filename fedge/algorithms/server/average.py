"""The aggregate is the next model, bit for bit, as in FedAvg and FedSGD; or a step towards it.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS,
Algorithm 1: w_{t+1} ← Σ n_k/n · w_k. With another rate η than 1: w_{t+1} = w_t + η (aggregate - w_t).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.registry import Entry, Options


class AverageOptions(Options):
    """Options of the step."""

    rate: float = Field(default=1.0, gt=0, le=10, allow_inf_nan=False)
    """η, the server's learning rate; 1: the aggregate is the next model."""


class Average:
    """No state: each round makes one step of the rate from the base towards the aggregate."""

    def __init__(self, options: AverageOptions | None = None) -> None:
        self._rate = 1.0 if options is None else options.rate

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No state."""
        return {}

    def step(
        self, base: NDArray[np.float32], aggregate: NDArray[np.float32], state: object, share: float = 1.0
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
        """w + η (aggregate - w) in float64, rounded once to the type of w; with η = 1 the aggregate."""
        if self._rate == 1.0:
            return aggregate, {}
        step = self._rate * np.subtract(aggregate, base, dtype=np.float64)
        return (base + step).astype(base.dtype), {}


ENTRY = Entry("server", "average", Average, AverageOptions)
