"""FedProx: stochastic gradient descent that is drawn to the model of the round.

Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith 2020, "Federated Optimization in Heterogeneous Networks", MLSys,
https://arxiv.org/abs/1812.06127, equation (2) and Algorithm 2: a device lowers F_k(w) + μ/2 ‖w - w_t‖², where
w_t is the announced model. So a step is

    v ← m v + g + λ w + μ (w - w_t)        w ← w - α v

with the plan's momentum m and weight decay λ. With μ = 0 it is `sgd`, to the bit. A device may take fewer
steps than the plan asks for, as in the paper: what it has done counts.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.local.descent import train_job
from fedge.algorithms.protocols import LocalAlgorithm
from fedge.algorithms.registry import Entry, Options
from fedge.algorithms.trainer import Job, Trained


class ProxOptions(Options):
    """How strongly the weights are drawn back."""

    mu: float = Field(default=0.01, ge=0, le=1e6, allow_inf_nan=False)
    """μ, the strength of the pull to the announced model; 0 is `sgd`."""


class Prox(LocalAlgorithm):
    """FedProx: each step is drawn to the announced model; no state."""

    receives: ClassVar[tuple[str, ...]] = ()
    sends: ClassVar[tuple[str, ...]] = ()
    partial: ClassVar[bool] = True
    memory: ClassVar[float] = 1.0

    def __init__(self, options: ProxOptions) -> None:
        self._mu = options.mu

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No state."""
        return {}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """Take the plan's steps, or as many as `job.enough` allows."""
        return train_job(job, cancelled, pull=self._mu, anchor=job.weights, enough=job.enough)


ENTRY = Entry("local", "prox", Prox, ProxOptions)
