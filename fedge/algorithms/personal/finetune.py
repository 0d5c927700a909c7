"""Fine-tuning: a few epochs more on the device's own samples, from the shared model.

Wang, Mathews, Kiddon, Eichner, Beaufays, Ramage 2019, "Federated Evaluation of On-device Personalization",
https://arxiv.org/abs/1910.10252, section 2: the shared model w is trained on by the device's own samples, and
the result is used only where it is better than w by the device's own measure.

The steps are those of the plan (`fedge.algorithms.local.descent`), `epochs` passes over the samples with the
plan's learning rate times `rate`. The personal model is made anew of each announced model, so there is no
state.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.local.descent import train
from fedge.algorithms.plan import MAX_EPOCHS
from fedge.algorithms.protocols import Adapted, Personal, Start
from fedge.algorithms.registry import Entry, Options
from fedge.algorithms.trainer import Job


class FinetuneOptions(Options):
    """How far the personal model goes from the shared one."""

    epochs: int = Field(default=20, ge=1, le=MAX_EPOCHS)
    """k, the passes over the device's samples."""
    rate: float = Field(default=1.0, gt=0, le=1e3, allow_inf_nan=False)
    """The factor of the plan's learning rate."""


class Finetune(Personal):
    """Trains on from the shared model; no state."""

    chosen: ClassVar[bool] = True

    def __init__(self, options: FinetuneOptions) -> None:
        self._epochs, self._rate = options.epochs, options.rate

    def adapt(
        self, job: Job, start: Start, trained: NDArray[Any] | None, cancelled: Callable[[], bool]
    ) -> Adapted:
        """Take the steps from the weights that the round began with."""
        told = {"epochs": self._epochs, "learning_rate": job.plan.learning_rate * self._rate}
        plan = job.plan.model_copy(update=told)
        found = train(job.network, start.weights, job.X, job.y, plan, job.rng, cancelled, enough=job.enough)
        return Adapted(found.vector)


ENTRY = Entry("personal", "finetune", Finetune, FinetuneOptions)
