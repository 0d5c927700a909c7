"""The phase at the end of learning: devices measure the newest model and do not train."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import summary as figures
from aggregator.aggregation.figures import speaking_for
from aggregator.aggregation.job import ClosingJob, Computed
from aggregator.aggregation.models import clusters_of
from aggregator.aggregation.updates import admitted
from aggregator.core.admission import Admitted, Terms
from aggregator.core.progress import Progress
from aggregator.core.usual_distance import UsualDistance
from aggregator.core.verdicts import Verdict
from aggregator.ledger.reading import LedgerReader
from aggregator.phases.phase import Phase
from fedge.algorithms.registry import Entry
from fedge.wire.messages.update import FIGURES, Update
from fedge.wire.reasons import Reason, Rejection

if TYPE_CHECKING:  # so that `--check` needs no extra; its maps do
    pass


class Evaluate(Phase):
    """A round that closes with the model that it began with."""

    name: ClassVar[str] = "evaluate"
    message: ClassVar[type[Update]] = Update
    trains: ClassVar[bool] = False
    needs_quorum: ClassVar[bool] = False
    done_as: ClassVar[str] = "train"

    def judge(self, terms: Terms, message: Update) -> Admitted | Rejection:
        """Admit a message without vectors."""
        if not 1 <= message.samples <= terms.max_samples:
            return Rejection(
                Reason.BAD_SAMPLE_COUNT, f"n_k = {message.samples}: a whole number in 1…{terms.max_samples}"
            )
        if message.kind != FIGURES:
            detail = (
                f"an update of kind {message.kind!r}: this round only measures, and takes kind {FIGURES!r}"
            )
            return Rejection(Reason.WRONG_KIND, detail)
        if message.body or message.vectors:
            size = len(message.body) + sum(map(len, (message.vectors or {}).values()))
            return Rejection(
                Reason.WRONG_LENGTH, f"{size} bytes of a vector: this round only measures, and takes none"
            )
        return Admitted(message.samples)

    def close(self, ledger: LedgerReader, job: ClosingJob, go_on: Callable[[], None]) -> Computed:
        """Close with the same model, and with the figures that devices told of it.

        The round has no quorum. So a figure counts only if at least half as many devices tell it as made the
        model; otherwise one or two devices could decide for a large fleet which model is the best.
        """
        assert job.model is not None
        made_by = admitted(ledger, job.round._replace(round=job.round.round - 1))
        models = clusters_of(ledger, job.model.digest, job.task.network.schema.size)
        return computed(job, admitted(ledger, job.round), len(made_by), models[0], models[1:])

    def progress(self, progress: Progress, summary: Mapping[str, float]) -> Progress:
        """The progress after measuring once more."""
        return progress.after_measuring(summary)

    def usual(self, usual: UsualDistance, summary: Mapping[str, float]) -> UsualDistance:
        """Unchanged: no update moved."""
        return usual


def computed(
    job: ClosingJob,
    counted: Mapping[str, Verdict],
    made_by: int,
    vector: NDArray[np.float32],
    clusters: tuple[NDArray[np.float32], ...] = (),
) -> Computed:
    """The outcome of a round that measured the model.

    Args:
        job: the round.
        counted: the answers that count, by device.
        made_by: the number of devices that made the model.
        vector: the model's weights, of shape (p,).
        clusters: the further shared models, from number 1 on.
    """
    assert job.model is not None
    return Computed(
        task=job.task,
        task_blob=job.task_blob,
        task_data=None,
        model=job.model,
        model_data=None,
        devices=len(counted),
        samples=sum(answer.samples for answer in counted.values()),
        summary=figures.told(job, counted, speaking_for(made_by)),
        vector=vector,
        clusters=clusters,
        rule=None,
    )


ENTRY = Entry("phase", "evaluate", Evaluate)
