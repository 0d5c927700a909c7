"""FedCM: each step follows the gradient, and the direction in which the fleet moved in the round before.

Xu, Wang, Wang and Yao 2021, "FedCM: Federated Learning with Client-level Momentum",
https://arxiv.org/abs/2106.10874, Algorithm 1. With the announced direction d, a step is

    w_i ← w_i - α (a g + (1 - a) d)

and after K steps from w the device sends (w - w_i) / (K α), whose mean is the next d. It begins at zero.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.local.descent import train
from fedge.algorithms.protocols import LocalAlgorithm
from fedge.algorithms.registry import Entry, Need, Options
from fedge.algorithms.trainer import Job, Trained


class FedCMOptions(Options):
    """The settings of the algorithm."""

    share: float = Field(default=0.1, gt=0, le=1)
    """a, the share of the device's own gradient in a step."""


class FedCM(LocalAlgorithm):
    """Sends and receives a vector beside the weights; `handed_on` is the protocol's: the aggregate."""

    receives: ClassVar[tuple[str, ...]] = ("direction",)
    sends: ClassVar[tuple[str, ...]] = ("direction",)

    def __init__(self, options: FedCMOptions) -> None:
        self._share = options.share

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        return {}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        a, direction, rate = self._share, job.received["direction"], job.plan.learning_rate
        plan = job.plan.model_copy(update={"learning_rate": a * rate})  # α a (g + (1 - a) / a · d)
        offset = np.float32((1 - a) / a) * direction
        trained = train(job.network, job.weights, job.X, job.y, plan, job.rng, cancelled, offset=offset)
        sent = np.subtract(job.weights, trained.vector, dtype=np.float64) / (trained.steps * rate)
        return replace(trained, vectors={**trained.vectors, "direction": sent.astype(np.float32)})


PLAIN = Need("plan", (), (("momentum", 0.0),), "with momentum what is sent is no mean of directions")
ENTRY = Entry("local", "fedcm", FedCM, FedCMOptions, (PLAIN, Need("rule", ("mean",), (), "d is a mean")))
