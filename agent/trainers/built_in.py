"""The agent's built-in trainer: it runs the local algorithm that the plan names."""

from collections.abc import Callable
from dataclasses import replace

from fedge.algorithms.registry import LOCAL
from fedge.algorithms.trainer import Job, Trained


class BuiltIn:
    """Runs the plan's local algorithm."""

    def __init__(self) -> None:
        LOCAL.entries()  # load all entries now: a message must never make a device import code

    def work(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """As `Trainer.work`."""
        algorithm = LOCAL.make(job.plan.local_name, job.plan.local_options)
        if not job.state and (state := algorithm.init(len(job.weights))):
            job = replace(job, state=state)
        return algorithm.run(job, cancelled)
