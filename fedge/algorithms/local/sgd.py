"""Stochastic gradient descent with momentum and weight decay: the client's part of FedAvg and FedSGD.

McMahan, Moore, Ramage, Hampson, y Arcas 2017, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", AISTATS, Algorithm 1, ClientUpdate. A step is v ← μ v + g + λ w, w ← w - α v
(`fedge.algorithms.local.descent`).
"""

from collections.abc import Callable
from typing import Any, ClassVar

from numpy.typing import NDArray

from fedge.algorithms.local.descent import train_job
from fedge.algorithms.protocols import LocalAlgorithm
from fedge.algorithms.registry import Entry
from fedge.algorithms.trainer import Job, Trained


class Sgd(LocalAlgorithm):
    """Stochastic gradient descent with momentum and weight decay, by the plan's keys; no state."""

    receives: ClassVar[tuple[str, ...]] = ()
    sends: ClassVar[tuple[str, ...]] = ()
    memory: ClassVar[float] = 0.0

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No state."""
        return {}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """Take the plan's steps."""
        return train_job(job, cancelled)


ENTRY = Entry("local", "sgd", Sgd)
