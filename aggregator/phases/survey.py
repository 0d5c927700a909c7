"""The phase that begins a generation: the devices' column statistics fix the frozen layers."""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from aggregator.aggregation import input_clip, survey
from aggregator.aggregation.admitted_surveys import measured, mix_told
from aggregator.aggregation.job import ClosingJob, Computed, Remark
from aggregator.aggregation.models import (
    blob_of,
    first_clusters,
    first_vectors,
    first_weights,
)
from aggregator.aggregation.survey import Measured, Unmeasured, check, outliers, standardize
from aggregator.aggregation.updates import admitted
from aggregator.config import reconnect_spread_s
from aggregator.core.admission import Admitted, Terms
from aggregator.core.mixes import Mix
from aggregator.core.progress import Progress
from aggregator.core.usual_distance import UsualDistance
from aggregator.ledger.reading import LedgerReader
from aggregator.phases.phase import Phase
from fedge.algorithms.registry import Entry
from fedge.algorithms.rules.outlying import Outlying
from fedge.nn.spec import fine_columns, takes_float64
from fedge.wire.messages import survey as wire
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import pack
from fedge.wire.messages.task import Task
from fedge.wire.models import model_message
from fedge.wire.reasons import Rejection

if TYPE_CHECKING:  # so that `--check` needs no extra; its maps do
    from aggregator.core.federation import Federation

OUTLYING_LOGGED, OUTLYING_KEPT = 10, 100
"""The numbers of outlying columns that are logged, and kept in the ledger."""


class Survey(Phase):
    """Round 0 of a generation that does not begin with a model."""

    name: ClassVar[str] = "survey"
    message: ClassVar[type[wire.Survey]] = wire.Survey
    trains: ClassVar[bool] = False
    needs_quorum: ClassVar[bool] = True
    done_as: ClassVar[str] = "survey"

    def base(self, task: Blob, model: Blob | None) -> bytes:
        """The task, which says what to measure."""
        return task.digest

    def judge(self, terms: Terms, message: wire.Survey) -> Admitted | Rejection:
        """Admit a plausible survey."""
        found = check(message, terms.task, terms.max_samples)
        return Admitted(message.samples) if isinstance(found, Measured) else found

    def job(self, state: "Federation") -> Mapping[str, Any]:
        """Whether it clips the standardized inputs, and may use float64: both only if all devices can."""
        narrowing = {"narrowing": input_clip.unable(state, survey.REST)}
        if state.clip is None:
            return narrowing
        unable = input_clip.unable(state)
        return narrowing | ({"unclipped": unable} if unable else {"clip": state.clip})

    def close(
        self, ledger: LedgerReader, job: ClosingJob, go_on: Callable[[], None]
    ) -> Computed | Unmeasured:
        """The task with its frozen layers, and the first weights."""
        surveys = measured(ledger, job.round, job.task, go_on)
        samples = sum(answer.samples for answer in admitted(ledger, job.round).values())
        return computed(job, surveys, samples)

    def progress(self, progress: Progress, summary: Mapping[str, float]) -> Progress:
        """Unchanged: nothing is learnt in a survey."""
        return progress

    def usual(self, usual: UsualDistance, summary: Mapping[str, float]) -> UsualDistance:
        """Unchanged: no update moved."""
        return usual


def computed(job: ClosingJob, surveys: Mapping[str, Measured], samples: int) -> Computed | Unmeasured:
    """The outcome of a survey.

    Args:
        job: the round.
        surveys: those that count, by device.
        samples: the sum of their n_k.
    """
    found = standardize(job.task, surveys, survey.EXACT, job.clip)
    if isinstance(found, Unmeasured):
        return found
    narrowed: tuple[str, ...] = ()
    if job.narrowing and takes_float64(found.network):
        narrowed = tuple(job.task.features[j] for j in fine_columns(found.network))
        narrow = standardize(job.task, surveys, survey.rule_of(job.clip), job.clip)
        assert isinstance(narrow, Task)  # what is measured does not depend on the rule
        found = narrow
    far = outliers(found, surveys)
    mix = mix_told(surveys, job.task)
    task = _spread(found, len(surveys) / job.chosen)
    task_data = pack(task)
    vector = first_weights(task, job.seed, job.round.generation)
    vectors = {
        **first_vectors(job.parts.hands_on, len(vector)),
        **first_clusters(job.parts.models, task, job.seed, job.round.generation),
    }
    data = model_message(job.round, vector, vectors)
    summary = {"clip": job.clip} if job.clip is not None else {}
    return Computed(
        task=task,
        task_blob=blob_of(task_data, 1 - job.task_blob.slot),
        task_data=task_data,
        model=blob_of(data, 1 - job.model.slot if job.model else 0),
        model_data=data,
        devices=len(surveys),
        samples=samples,
        summary=summary,
        vector=vector,
        clusters=tuple(vectors[name] for name in job.parts.models[1:]),
        rule=survey.rule_of(job.clip, takes_float64(task.network)),
        told=_named(far),
        after=(*_remarks(far), *_of_mix(job, mix), *_of_clip(job, narrowed)),
        mix=mix,
    )


def _spread(task: Task, devices: float) -> Task:
    """Spread the reconnections of this many devices, if the configuration expected fewer."""
    spread_s = max(task.reconnect_spread_s, reconnect_spread_s(devices))
    return task.model_copy(update={"reconnect_spread_s": spread_s})


def _named(far: tuple[Outlying, ...]) -> dict[str, Any]:
    """The number of outlying devices, and the farthest with their columns, for `views`."""
    devices = len({one.device for one in far})
    return {"outlying_devices": devices, "outlying": [vars(one) for one in far[:OUTLYING_KEPT]]}


def _remarks(far: tuple[Outlying, ...]) -> list[Remark]:
    """Log lines on outlying devices; all are counted, the farthest are named."""
    remarks = [
        (logging.WARNING, f"{one}; its influence on the survey is bounded; check its sensor")
        for one in far[:OUTLYING_LOGGED]
    ]
    if more := len({one.device for one in far} - {one.device for one in far[:OUTLYING_LOGGED]}):
        remarks.append((logging.WARNING, f"{more} more devices lie far from the fleet in some column"))
    return remarks


def _of_mix(job: ClosingJob, mix: Mix | None) -> list[Remark]:
    if mix is None:
        return []
    return [(logging.WARNING if mix.unknown else logging.INFO, f"round {job.round}: {mix}")]


def _of_clip(job: ClosingJob, narrowed: tuple[str, ...]) -> list[Remark]:
    remarks = []
    if job.unclipped:
        remarks.append((logging.WARNING, input_clip.left_out(job.unclipped)))
    if narrowed:
        remarks.append((logging.WARNING, input_clip.narrowed(narrowed, job.narrowing)))
    return remarks


ENTRY = Entry("phase", "survey", Survey)
