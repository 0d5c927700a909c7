"""FedDyn: a device lowers its loss, corrected so that what all devices reach is an optimum of the fleet.

Acar, Zhao, Matas Navarro, Mattina, Whatmough, Saligrama 2021, "Federated Learning Based on Dynamic
Regularization", ICLR, https://arxiv.org/abs/2111.04263, Algorithm 1. From the announced model w a device
lowers L_k(θ) - ⟨g_k, θ⟩ + a/2 ‖θ - w‖², where g_k is its state and a the option `alpha`. So a step is

    v ← m v + g + λ θ + a (θ - w) - g_k        θ ← θ - α v

with the plan's momentum m, weight decay λ and learning rate α, which belong to the solver and may have any
value. After the steps

    g_k ← g_k - a (θ_k - w)

in float64, rounded once; at the minimum this is the gradient of L_k. All g_k begin at zero. The server
optimizer `dyn` has the other half; it needs no a, which cancels there.

The server's u, times a, is the mean of all g_k. These end that: a device loses its state,
`[rounds] clip_norm` shortens its update, or its update is set aside after it was admitted. The difference
stays until the next generation. Until then the model goes to where the fleet's mean gradient is that
difference, and not to where it is 0. A new generation that keeps the model ends this.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.local.descent import rounded, train_job
from fedge.algorithms.protocols import LocalAlgorithm
from fedge.algorithms.registry import Entry, Need, Options
from fedge.algorithms.trainer import Job, Trained

GRADIENT = "gradient"
"""The name of the state g_k."""


class DynOptions(Options):
    """How strongly the weights are drawn back."""

    alpha: float = Field(default=0.1, gt=0, le=1e6, allow_inf_nan=False)
    """a, the strength of the pull to the announced model."""


class Dyn(LocalAlgorithm):
    """FedDyn: a pull to the announced model, and a correction by the device's gradient, its state."""

    receives: ClassVar[tuple[str, ...]] = ()
    sends: ClassVar[tuple[str, ...]] = ()
    memory: ClassVar[float] = 3.0

    def __init__(self, options: DynOptions) -> None:
        self._alpha = options.alpha

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """The device's gradient: zeros."""
        return {GRADIENT: np.zeros(size, np.float32)}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """Take the plan's steps on the corrected loss."""
        known, kind = job.state[GRADIENT], job.network.dtype
        trained = train_job(job, cancelled, pull=self._alpha, anchor=job.weights, offset=-known)
        start, end = job.weights, trained.vector

        def after(place: slice) -> NDArray[Any]:
            moved = np.subtract(end[place], start[place], dtype=np.float64)
            return known[place] - self._alpha * moved

        state = rounded(after, len(end), kind, job.plan.learning_rate)
        return replace(trained, state={GRADIENT: state})


ENTRY = Entry(
    "local",
    "dyn",
    Dyn,
    DynOptions,
    needs=(
        Need("rule", ("mean",), (("weights", "uniform"),), "the correction is a plain mean over devices"),
        Need(
            "codec",
            ("float32", "topk"),
            (),
            "what a codec rounds off would be missing in the server's half",
        ),
        Need("server", ("dyn",), (), "it makes the other half of the correction"),
    ),
)
