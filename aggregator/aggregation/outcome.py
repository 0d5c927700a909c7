"""What closing a round computes: the mean of the admitted updates, or the survey's frozen layers.

The same ledger gives the same model, bit for bit. To compute only reads the ledger, and may take long
(`aggregator.shell.closer` gives it a thread); to save what came of it is the loop's, and is done at once.
"""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import input_clip, survey
from aggregator.aggregation.figures import bytes_needed, speaking_for, summarize
from aggregator.aggregation.mean import (
    Mean,
    Unusable,
    Updates,
    admitted,
    damaged,
    read,
    usable_mean,
)
from aggregator.aggregation.probes import Samples, Trial
from aggregator.aggregation.survey import Measured, Unmeasured, check, outliers, standardize
from aggregator.config import reconnect_spread_s
from aggregator.core import mixes, story
from aggregator.core.participation import Participation
from aggregator.core.stopping import Progress, progress_of
from aggregator.core.verdicts import Answer
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.writing import Ledger
from aggregator.settings.state import StateSection
from fedge import nn
from fedge.algorithms.codecs import float32
from fedge.algorithms.registry import CODECS
from fedge.algorithms.rules import bounds
from fedge.algorithms.rules.bounds import Factors, distance
from fedge.algorithms.rules.columns import Outlying
from fedge.errors import DamagedState
from fedge.nn.spec import fine_columns, takes_float64
from fedge.wire.frames import split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task

if TYPE_CHECKING:  # `--check` works without the extra, which its maps are of
    from aggregator.core.federation import Federation

log = logging.getLogger("fedge.aggregator")

Vector = NDArray[np.float32]

NAMED = 5
"""So many devices are named in one line."""
OUTLYING_LOGGED, OUTLYING_KEPT = 10, 100
"""So many columns of devices that lie outside are logged, and kept in the ledger."""


@dataclass(frozen=True)
class ClosingJob:
    """One round to close: what its model is computed of, besides the updates in the ledger."""

    round: RoundId
    kind: Literal["survey", "train", "evaluate"]
    task: Task
    task_blob: Blob
    model: Blob | None
    """What the round's updates began from; none before the survey is closed."""
    seed: int
    chosen: float
    """Which share of the fleet the round's last attempt has chosen."""
    factors: Factors = field(default_factory=Factors)
    """How far one update may move the mean."""
    clip: float | None = None
    """Of a survey: the bound on standardized inputs, in standard deviations; None: they are not clipped."""
    unclipped: tuple[str, ...] = ()
    """The devices because of which inputs are not clipped."""
    narrowing: tuple[str, ...] = ()
    """Of a survey: the devices because of which inputs are float32, whatever the columns are."""
    participation: Participation = field(default_factory=lambda: Participation(0, 0), compare=False)
    """Who took part, when it began to close; for people."""
    samples: Samples | None = field(default=None, compare=False, repr=False)
    """Raw samples (n, d) on which the model must compute finite outputs, besides those drawn."""


@dataclass(frozen=True)
class Computed:
    """A round's new model as it is stored and announced, and what the round brought."""

    task: Task
    task_blob: Blob
    task_data: bytes | None
    """The task, if this round has changed it."""
    model: Blob
    model_data: bytes | None
    """The model, unless the round has only measured it."""
    devices: int
    samples: int
    summary: dict[str, float]
    vector: Vector = field(compare=False, repr=False)
    """The model's weights, of shape (p,)."""
    bounded: tuple[str, ...] = ()
    """What the operator is told of those who count for less than they sent."""
    outlying: tuple[Outlying, ...] = ()
    """Of a survey: the devices that told what hardly any other did, the farthest first."""
    mix: mixes.Mix | None = None
    """Of a survey: what owners let their devices tell of their classes; None: nothing."""
    narrowed: tuple[str, ...] = ()
    """Of a survey: columns that are too fine for float32, and stay so because of `ClosingJob.narrowing`."""


@dataclass(frozen=True)
class Averaged:
    """A round's new vector, and what the round brought."""

    vector: Vector
    devices: int
    samples: int
    summary: dict[str, float]
    bounded: tuple[str, ...] = ()


def first_weights(task: Task, seed: int, generation: int) -> Vector:
    """The model that training begins with: a function of task, seed and generation."""
    return nn.first_weights(task.network, seed, generation)


def surveyed(
    ledger: LedgerReader,
    round_id: RoundId,
    task: Task,
    go_on: Callable[[], None] = lambda: None,
    rule: str = survey.RULE,
    without: Collection[str] = (),
) -> Task | Unmeasured:
    """The task with its frozen layers, from the admitted surveys of a closed round; else as `measured`.

    By `rule`, and with the bound that the round was closed with, whatever the settings have become since.
    """
    clip = _clip(ledger, round_id, rule)
    return standardize(task, measured(ledger, round_id, task, go_on, without), rule, clip)


def _clip(ledger: LedgerReader, round_id: RoundId, rule: str) -> float | None:
    if rule not in (survey.CLIPPED, survey.EXACT):
        return None
    summary = ledger.summary(round_id)
    if rule == survey.EXACT and "clip" not in summary:
        return None
    try:
        return float(summary["clip"])
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedState(f"the bound on inputs of round {round_id} is damaged: {error!r}") from None


def measured(
    ledger: LedgerReader,
    round_id: RoundId,
    task: Task,
    go_on: Callable[[], None] = lambda: None,
    without: Collection[str] = (),
) -> dict[str, Measured]:
    """The admitted surveys by device; `go_on` and `without` as in `mean_of`.

    Raises:
        DamagedState: an admitted survey is missing or damaged.
    """
    surveys: dict[str, Measured] = {}
    for device, answer in admitted(ledger, round_id, without).items():
        go_on()
        message = read(ledger, device, answer)
        # The cap is what was admitted: lowering [federation] max_samples since then changes nothing.
        found = check(message, task, answer.samples) if isinstance(message, Survey) else None
        if not isinstance(found, Measured):
            raise damaged(device, f"no survey that holds, for round {round_id}")
        surveys[device] = found
    return surveys


def mix_told(surveys: Mapping[str, Measured], task: Task) -> mixes.Mix | None:
    """What the devices tell of their classes; None: no owner lets his tell."""
    told = {device: measured.classes for device, measured in surveys.items()}
    return mixes.mix_of(told, task.classes or ())


def averaged(
    ledger: LedgerReader, job: ClosingJob, base: Vector, go_on: Callable[[], None] = lambda: None
) -> Averaged | Unusable:
    """The mean of the admitted updates, and what they told; `base` of shape (p,) is what they began from.

    Raises:
        DamagedState: an admitted update is missing or damaged: without it the mean would be another one.
    """
    updates = Updates(ledger, job.round, len(base), go_on)
    trial = Trial(job.task.network, base, job.samples)
    if not trial.base_is_usable:
        log.error(
            "round %s: the model that it began from computes nothing finite, on none of the probe inputs: %s",
            job.round,
            story.way_back(job.round._replace(round=job.round.round - 1)),
        )
    found = usable_mean(updates, base, job.factors, trial)
    if isinstance(found, Unusable):
        return found
    assert job.model is not None
    summary = _told(job, updates.answers)
    moved = distance(base, found.vector)
    summary["weight_change"] = moved / max(distance(np.zeros_like(base), base), 1e-38)
    summary |= {"clip_norm": job.factors.clip_norm, "max_weight": job.factors.max_weight}
    summary["moved"] = moved
    if len(found.devices) > 1:  # of one, it would be what that one says
        summary["median_norm"] = found.bounds.median_norm
    return Averaged(
        found.vector, len(found.devices), sum(found.samples), summary, tuple(_bounded(job.factors, found))
    )


def _told(job: ClosingJob, answers: Mapping[str, Answer], count: int = 0) -> dict[str, float]:
    """The fleet's figures, `count` as in `summarize`; beside an RMSE that of always the survey's mean."""
    assert job.model is not None
    summary = summarize(answers, bytes_needed(job.task_blob.size, job.model.size), count)
    last = job.task.network.last
    if "rmse" in summary and last is not None:
        summary["rmse_mean"] = float(np.mean(last.scales, dtype=np.float64))
    return summary


def _bounded(factors: Factors, found: Mean) -> list[str]:
    """Who counts for less than it sent, in a line for each bound."""
    shortened = [d for d, scale in zip(found.devices, found.bounds.scales, strict=True) if scale < 1]
    lighter = [
        f"{d} (n_k = {sent})"
        for d, sent, counts in zip(found.devices, found.samples, found.bounds.weights, strict=True)
        if counts < sent
    ]
    lines = []
    if shortened:
        lines.append(
            f"the differences of {_names(shortened)} are clipped to {factors.clip_norm:g} times the median "
            f"norm of {found.bounds.median_norm:.3g}"
        )
    if lighter:
        lines.append(
            f"{_names(lighter)} counts as {max(found.bounds.weights)} samples at most: "
            f"{factors.max_weight:g} times the median n_k of {found.bounds.median_samples}, "
            "or fewer if it moves the model far"
        )
    return lines


def _names(devices: Sequence[str]) -> str:
    more = len(devices) - NAMED
    return ", ".join(devices[:NAMED]) + (f" and {more} more" if more > 0 else "")


def job_of(state: "Federation") -> ClosingJob:
    """What closing the round of this state is about."""
    return ClosingJob(
        round=state.round,
        kind=state.kind,
        task=state.task_message,
        task_blob=state.task,
        model=state.model,
        seed=state.seed,
        chosen=state.cohorts[-1].fraction,
        participation=Participation.of(state),
        factors=Factors(state.rules.clip_norm, state.rules.max_weight),
        **_clipping(state),
    )


def _clipping(state: "Federation") -> dict[str, Any]:
    """Whether the survey bounds the standardized inputs, and may take float64: if all devices can."""
    if state.kind != "survey":
        return {}
    narrowing = {"narrowing": input_clip.unable(state, survey.REST)}
    if state.clip is None:
        return narrowing
    unable = input_clip.unable(state)
    return narrowing | ({"unclipped": unable} if unable else {"clip": state.clip})


def compute(
    ledger: LedgerReader, job: ClosingJob, go_on: Callable[[], None] = lambda: None
) -> Computed | Unmeasured | Unusable:
    """Compute a round's model of what is admitted in the ledger; nothing is changed there.

    `go_on` is called before each update is read; what it raises ends the work.

    Raises:
        DamagedState: what was admitted is missing or damaged.
    """
    round_id, task, task_blob, task_data = job.round, job.task, job.task_blob, None
    outlying: tuple[Outlying, ...] = ()
    mix: mixes.Mix | None = None
    narrowed: tuple[str, ...] = ()
    if job.kind == "survey":
        surveys = measured(ledger, round_id, task, go_on)
        found = standardize(task, surveys, survey.EXACT, job.clip)
        if isinstance(found, Unmeasured):
            return found
        if job.narrowing and takes_float64(found.network):
            narrowed = tuple(task.features[j] for j in fine_columns(found.network))
            narrow = standardize(task, surveys, survey.rule_of(job.clip), job.clip)
            assert isinstance(narrow, Task)  # what is measured does not depend on the rule
            found = narrow
        outlying = outliers(found, surveys)
        mix = mix_told(surveys, task)
        counted = admitted(ledger, round_id).values()
        task = _spread(found, len(counted) / job.chosen)
        task_data = pack(task)
        task_blob = blob_of(task_data, 1 - job.task_blob.slot)
        vector = first_weights(task, job.seed, round_id.generation)
        result = Averaged(vector, len(counted), sum(answer.samples for answer in counted), {})
    elif job.kind == "evaluate":
        return _measured_model(ledger, job)
    else:
        assert job.model is not None
        base = weights_of(ledger, job.model, task.network.schema.size)
        averages = averaged(ledger, job, base, go_on)
        if isinstance(averages, Unusable):
            return averages
        result = averages
    data = model_message(round_id, result.vector)
    model = blob_of(data, 1 - job.model.slot if job.model else 0)
    if job.clip is not None:
        result.summary["clip"] = job.clip
    summary = {**result.summary, "bytes_up": ledger.update_bytes(round_id)}
    return Computed(
        task,
        task_blob,
        task_data,
        model,
        data,
        result.devices,
        result.samples,
        summary,
        result.vector,
        result.bounded,
        outlying,
        mix,
        narrowed,
    )


def _measured_model(ledger: LedgerReader, job: ClosingJob) -> Computed:
    """A round that has only measured its model: it is closed with that one, and with what was told of it.

    No quorum holds for it. So what one or two devices tell counts only if they are half of those who made the
    model: else they would decide for a large fleet which one is the best.
    """
    assert job.model is not None
    counted = admitted(ledger, job.round)
    made_by = admitted(ledger, job.round._replace(round=job.round.round - 1))
    summary = _told(job, counted, speaking_for(len(made_by)))
    return Computed(
        job.task,
        job.task_blob,
        None,
        job.model,
        None,
        len(counted),
        sum(answer.samples for answer in counted.values()),
        {**summary, "bytes_up": ledger.update_bytes(job.round)},
        weights_of(ledger, job.model, job.task.network.schema.size),
    )


def progress_after(job: ClosingJob, computed: Computed, progress: Progress) -> Progress:
    """The progress with the round that is closed."""
    match job.kind:
        case "train":
            return progress.after(computed.summary)
        case "evaluate":
            return progress.after_measuring(computed.summary)
        case "survey":
            return progress


def save(
    ledger: Ledger,
    job: ClosingJob,
    computed: Computed,
    seconds: float,
    keep: StateSection,
    progress: Progress | None = None,
) -> None:
    """Save the new model with the closed round, inside the caller's transaction.

    Args:
        ledger: of the aggregator that closes the round.
        job: which round it is.
        computed: what came of it.
        seconds: how long the round took, for its summary.
        keep: what older rounds were computed of is freed beyond these bounds.
        progress: with this round; its best round's model is kept, and until there is a model that was
            trained that of the generation before.
    """
    round_id, summary = job.round, {**computed.summary, "seconds": seconds}
    told = job.participation.summary()
    if computed.task_data is not None:
        ledger.save_content("task", round_id, computed.task_blob, computed.task_data)
    if computed.model_data is not None:
        ledger.save_content("model", round_id, computed.model, computed.model_data)
    ledger.close_round(
        round_id,
        computed.model.digest,
        computed.devices,
        computed.samples,
        {**summary, **told, **(_named(computed.outlying) if job.kind == "survey" else {})},
        time.time(),
        _rule(job, computed),
        computed.task_blob.digest,
    )
    progress = progress or Progress()
    ledger.retain(round_id, keep.keep_rounds, keep.keep_bytes, _best(ledger, round_id, progress))
    for line in computed.bounded:
        log.warning("round %s: %s", round_id, line)
    said = story.closed(round_id, job.kind, computed.devices, computed.samples, summary, progress)
    said.insert(-1, str(job.participation))
    log.info("%s", story.line(said))
    _warn(computed.outlying)
    if (mix := computed.mix) is not None:
        log.log(logging.WARNING if mix.unknown else logging.INFO, "round %s: %s", round_id, mix)
    if job.unclipped:
        log.warning("%s", input_clip.left_out(job.unclipped))
    if computed.narrowed:
        log.warning("%s", input_clip.narrowed(computed.narrowed, job.narrowing))


def _rule(job: ClosingJob, computed: Computed) -> str | None:
    """By which rule the round is closed; None: it makes no model."""
    match job.kind:
        case "train":
            return bounds.RULE
        case "survey":
            return survey.rule_of(job.clip, takes_float64(computed.task.network))
        case _:
            return None


def _best(ledger: LedgerReader, round_id: RoundId, progress: Progress) -> RoundId | None:
    """The best model, which is kept: it is exported."""
    generation, best = round_id.generation, progress.best
    if round_id.round == 0 and (before := ledger.trained_before(generation)) is not None:
        generation = before.generation
        best = progress_of(ledger.history(generation), progress.by).best
    return None if best is None else RoundId(generation, best.round)


def _named(outlying: tuple[Outlying, ...]) -> dict[str, Any]:
    """How many devices lie outside, and the farthest of them with their columns: what `views` show."""
    devices = len({one.device for one in outlying})
    return {"outlying_devices": devices, "outlying": [vars(one) for one in outlying[:OUTLYING_KEPT]]}


def _warn(outlying: tuple[Outlying, ...]) -> None:
    """Name the devices that lie outside; all of them are counted, the farthest are named."""
    for one in outlying[:OUTLYING_LOGGED]:
        log.warning("%s: it counts in the survey as far as one device can; look at its sensor", one)
    if more := len({one.device for one in outlying} - {one.device for one in outlying[:OUTLYING_LOGGED]}):
        log.warning("%d more devices lie far from the fleet in some column", more)


def _spread(task: Task, devices: float) -> Task:
    """Let as many devices as the survey speaks of come back without a rush; few configurations say it."""
    spread_s = max(task.reconnect_spread_s, reconnect_spread_s(devices))
    return task.model_copy(update={"reconnect_spread_s": spread_s})


def model_message(round_id: RoundId, vector: Vector) -> bytes:
    """A round's model as it is announced, stored and hashed."""
    body = float32.encode(vector)
    return pack(Model(generation=round_id.generation, round=round_id.round, body=body))


def weights_of(ledger: LedgerReader, model: Blob, size: int) -> Vector:
    """The vector of a model in the ledger, of shape (size,)."""
    return vector_of(ledger, model.digest, size)


def vector_of(ledger: LedgerReader, digest: bytes, size: int) -> Vector:
    """The vector of a model in the ledger by its digest, of shape (size,)."""
    message = unpack(ledger.content(digest), Model, max_bytes=MAX_SIZE)
    return CODECS.make(message.codec).decode(message.body, size)


def blob_of(data: bytes, slot: int) -> Blob:
    """Where a framed message will lie."""
    pieces = split(data)
    return Blob(digest=pieces.id, slot=slot, frames=len(pieces), size=len(data))
