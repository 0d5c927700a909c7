"""FedProx: stochastic gradient descent that stays near the model from which it began.

Li et al. 2020, "Federated Optimization in Heterogeneous Networks", MLSys, https://arxiv.org/abs/1812.06127,
equation 2: each step follows the gradient of the loss plus μ/2 ‖w - w_t‖². With μ = 0 it is plain SGD.
Fedge has it as `prox`.
"""

from collections.abc import Callable
from itertools import chain

import numpy as np
from pydantic import Field

from fedge.algorithms.local.descent import batches
from fedge.algorithms.protocols import LocalAlgorithm, State
from fedge.algorithms.registry import Entry, Options
from fedge.algorithms.trainer import Cancelled, Diverged, Job, Trained
from fedge.data.disclosure import public


class ProximalOptions(Options):
    """The settings of the algorithm."""

    mu: float = Field(default=0.1, ge=0, le=1e3)
    """μ, the strength that pulls the weights back to the model of the round."""


class Proximal(LocalAlgorithm):
    """Keeps no state, and sends what is done if the owner's time ends: fewer steps are a result, too."""

    receives = sends = ()
    partial = True

    def __init__(self, options: ProximalOptions) -> None:
        self._mu = np.float32(options.mu)

    def init(self, size: int) -> State:
        return {}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        network, plan, steps = job.network, job.plan, 0
        w, gradient = job.weights.copy(), np.empty_like(job.weights)
        epochs = (batches(job.X, job.y, plan.batch_size, job.rng) for _ in range(plan.epochs))
        with np.errstate(all="ignore"):  # what is not finite is looked for in the end
            before = network.loss(w, job.X, job.y)
            for X, y in chain.from_iterable(epochs):
                if cancelled():
                    raise Cancelled
                if steps and job.enough():
                    break
                network.loss_and_grad(w, X, y, gradient)
                w -= np.float32(plan.learning_rate) * (gradient + self._mu * (w - job.weights))
                steps += 1
            after = network.loss(w, job.X, job.y)
        if not np.isfinite((before, after)).all() or not np.isfinite(w).all():
            raise Diverged(public("the loss is not finite"), public("lower the learning rate"))
        return Trained({"weights": w}, steps, before, after)


ENTRY = Entry("local", "proximal", Proximal, ProximalOptions)
