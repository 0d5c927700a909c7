"""FedNova: stochastic gradient descent whose change is divided by the number of its steps.

Wang, Liu, Liang, Joshi, Poor 2020, "Tackling the Objective Inconsistency Problem in Heterogeneous Federated
Optimization", NeurIPS, https://arxiv.org/abs/2007.07481, equation (4) and Algorithm 1. A device takes τ_k
steps of `sgd` from the announced model w, which end in w_k, and sends the weights

    v_k = w + (w_k - w) / τ_k

in float64, rounded once; the rule multiplies the rounding too, so that after 1,000 steps a weight of 1 has an
error of about 6e-5. The rule `nova` puts the changes together and multiplies them by the steps that the
fleet took on average (equations (7) to (9)). So a device that takes more steps than others, because it has
more samples or more time, does not draw the model to its own optimum. For plain steps ‖a_k‖₁ of the paper is
τ_k. With momentum it is another number, so momentum is refused. Weight decay λ is part of the gradient.

A device may take fewer steps than the plan asks for: what it has done counts.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.local.descent import rounded, train_job
from fedge.algorithms.protocols import WEIGHTS, LocalAlgorithm
from fedge.algorithms.registry import Entry, Need
from fedge.algorithms.trainer import Job, Trained


class Nova(LocalAlgorithm):
    """FedNova: the change is divided by the number of steps; no state."""

    receives: ClassVar[tuple[str, ...]] = ()
    sends: ClassVar[tuple[str, ...]] = ()
    partial: ClassVar[bool] = True
    memory: ClassVar[float] = 1.25

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No state."""
        return {}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """Take the plan's steps, or as many as `job.enough` allows; send the change of a mean step."""
        trained = train_job(job, cancelled, enough=job.enough)
        start, end = job.weights, trained.vector

        def sent(place: slice) -> NDArray[Any]:
            change = np.subtract(end[place], start[place], dtype=np.float64) / trained.steps
            return np.add(start[place], change)

        vector = rounded(sent, len(end), job.network.dtype, job.plan.learning_rate)
        return replace(trained, vectors={WEIGHTS: vector}, model=end)


ENTRY = Entry(
    "local",
    "nova",
    Nova,
    needs=(
        Need("rule", ("nova",), (), "what is sent is the change of one step"),
        Need("plan", (), (("momentum", 0.0),), "a step with momentum counts other than once"),
    ),
)
