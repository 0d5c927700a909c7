"""A trainer of your own: gradient descent on all samples, with a step size that adapts to the loss.

A trainer replaces the whole training on a device. The device's owner chooses it, never the federation. "Bold
driver": Battiti, "Accelerating Backpropagation through Conjugate Gradient Descent", Complex Systems 3 (1989),
section 3: a step that lowers the loss is kept, and the next one is longer; any other step is undone, and the
next one is half as long.
"""

from collections.abc import Callable

import numpy as np

from fedge.algorithms.trainer import Cancelled, Diverged, Job, Trained
from fedge.data.disclosure import public


class BoldDriver:
    """Takes as many steps as the plan has, and begins with the plan's learning rate."""

    def work(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        network, rate = job.network, job.plan.learning_rate
        w, gradient = job.weights.copy(), np.empty_like(job.weights)
        steps = job.plan.steps(len(job.X))
        with np.errstate(all="ignore"):  # a step that is too long is undone
            before = loss = network.loss_and_grad(w, job.X, job.y, gradient)
            if not np.isfinite(loss) or not np.isfinite(gradient).all():
                raise Diverged(public("the loss is not finite"), public("the model is bad"))
            for _ in range(steps):
                if cancelled():
                    raise Cancelled
                there = w - np.float32(rate) * gradient
                found = network.loss(there, job.X, job.y)
                if found < loss:
                    w, rate = there, 1.1 * rate
                    loss = network.loss_and_grad(w, job.X, job.y, gradient)
                else:
                    rate /= 2
        return Trained({"weights": w}, steps, before, loss)
