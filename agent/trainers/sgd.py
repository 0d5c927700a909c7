"""The built-in trainer: `fedge.algorithms.local.sgd`, with NumPy alone."""

from collections.abc import Callable

from fedge.algorithms.local.sgd import train
from fedge.algorithms.trainer import Job, Trained


class Sgd:
    """Stochastic gradient descent by the round's plan."""

    def work(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """As `Trainer.work`."""
        return train(job.network, job.weights, job.X, job.y, job.plan, job.rng, cancelled)
