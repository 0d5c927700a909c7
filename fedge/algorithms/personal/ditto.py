"""Ditto: a personal model that is trained in each round, and drawn to the shared one.

Li, Hu, Beirami, Smith 2021, "Ditto: Fair and Robust Federated Learning Through Personalization", ICML,
https://arxiv.org/abs/2012.04221, equation (2) and Algorithm 1. A device lowers

    F_k(v) + λ/2 ‖v - w‖²

over its personal model v, where F_k is its mean loss and w the announced shared model. So a step is

    u ← μ u + g + λ (v - w)        v ← v - α u

with the plan's learning rate α, momentum μ and epochs (`fedge.algorithms.local.descent`, whose weight decay
applies too). v begins at the shared model of the device's first round, and is kept from round to round: it is
the state. A round that is cut short keeps the steps that were taken, and one without time keeps v as it is.
With λ = 0 it is a model alone from then on; with a large λ it is the shared model.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.local.descent import train
from fedge.algorithms.protocols import Adapted, Personal, Start, State
from fedge.algorithms.registry import Entry, Options
from fedge.algorithms.trainer import Job


class DittoOptions(Options):
    """How strongly the personal model is drawn to the shared one."""

    pull: float = Field(default=0.1, ge=0, le=1e3, allow_inf_nan=False)
    """λ; times the plan's learning rate it must be less than 1, or the steps do not end."""


class Ditto(Personal):
    """Keeps a personal model that each round draws to the shared one.

    State: the model `v`, and the number of `rounds` that it was trained in.
    """

    chosen: ClassVar[bool] = True

    def __init__(self, options: DittoOptions) -> None:
        self._pull = options.pull

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No model yet: it begins at the shared one."""
        return {"v": np.zeros(size, np.float32), "rounds": np.array(0)}

    def adapt(
        self, job: Job, start: Start, trained: NDArray[Any] | None, cancelled: Callable[[], bool]
    ) -> Adapted:
        """Train v on from where the last round left it."""
        rounds = int(job.state["rounds"])
        v = job.state["v"] if rounds else start.weights
        found = train(
            job.network,
            v,
            job.X,
            job.y,
            job.plan,
            job.rng,
            cancelled,
            pull=self._pull,
            anchor=np.asarray(start.weights),
            enough=job.enough,
        )
        return Adapted(found.vector, {"v": found.vector, "rounds": np.array(rounds + 1)})

    def kept(self, state: State) -> NDArray[Any] | None:
        """v, once it was trained."""
        return state["v"] if int(state["rounds"]) else None


ENTRY = Entry("personal", "ditto", Ditto, DittoOptions)
