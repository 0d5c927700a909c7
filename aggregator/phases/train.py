"""The training phase: a rule makes one vector of the updates, a server optimizer the next model."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import clustered, remarks, server_state
from aggregator.aggregation.aggregate import Aggregate, Unmade, Unusable, aggregate, sizes_of, usable
from aggregator.aggregation.averaged import Averaged
from aggregator.aggregation.downlink import Coding, coded, key_for
from aggregator.aggregation.fleet_size import share_of
from aggregator.aggregation.further_vectors import handed_on
from aggregator.aggregation.job import ClosingJob, Computed, Remark
from aggregator.aggregation.models import blob_of, clusters_of, weights_of
from aggregator.aggregation.noise import inputs_of, is_private
from aggregator.aggregation.past import LedgerPast, Past
from aggregator.aggregation.probes import Trial
from aggregator.aggregation.summary import told
from aggregator.aggregation.updates import RoundUpdates, Updates
from aggregator.aggregation.weighed import named, uncounted, weighed
from aggregator.core import round_log
from aggregator.core.admission import Admitted, Terms
from aggregator.core.parts import Parts
from aggregator.core.progress import Progress
from aggregator.core.quorum import needing
from aggregator.core.shared_entries import shared_by
from aggregator.core.usual_distance import MEAN, MEDIAN, UsualDistance
from aggregator.core.vectors import judge, judge_all
from aggregator.ledger.reading import LedgerReader
from aggregator.phases.phase import Phase
from fedge.algorithms.contribution import order
from fedge.algorithms.protocols import WEIGHTS, State
from fedge.algorithms.registry import CODECS, RULES, SERVER, Entry
from fedge.algorithms.rules.bounds import distance
from fedge.algorithms.rules.mean import ENTRY as ENTRY_MEAN
from fedge.frozen import replace
from fedge.wire.messages.update import Update
from fedge.wire.models import FLOAT32, model_message
from fedge.wire.reasons import Rejection

log = logging.getLogger("fedge.aggregator")

Vector = NDArray[np.float32]


class Train(Phase):
    """Every device trains from the model by the plan."""

    name: ClassVar[str] = "train"
    message: ClassVar[type[Update]] = Update
    trains: ClassVar[bool] = True
    needs_quorum: ClassVar[bool] = True
    done_as: ClassVar[str] = "train"

    def judge(self, terms: Terms, message: Update) -> Admitted | Rejection:
        """Admit an update whose vectors are as the plan asks, finite, and not too far."""
        return judge(terms, message)

    def judge_all(self, terms: Terms, messages: Sequence[Update]) -> list[Admitted | Rejection]:
        """As `judge`, with fewer calls for each."""
        return judge_all(terms, messages)

    def close(
        self, ledger: LedgerReader, job: ClosingJob, go_on: Callable[[], None]
    ) -> Computed | Unusable | Unmade:
        """Close with the next model."""
        assert job.model is not None
        size = job.task.network.schema.size
        if len(job.parts.models) > 1:
            models = clusters_of(ledger, job.model.digest, size)
            result = averaged_by_cluster(ledger, job, models, go_on)
        else:
            result = averaged(ledger, job, weights_of(ledger, job.model, size), go_on)
        return computed(job, result, coding_of(job, result, LedgerPast(ledger, job)))

    def progress(self, progress: Progress, summary: Mapping[str, float]) -> Progress:
        """The progress after one more training round."""
        return progress.after(summary)

    def usual(self, usual: UsualDistance, summary: Mapping[str, float]) -> UsualDistance:
        """The usual distances with this round's."""
        return usual.after(summary)


def coding_of(job: ClosingJob, result: Averaged | Unusable | Unmade, past: Past) -> Coding | None:
    """The coded form of the next model; None: it is sent as it is.

    Its weights, and those of further shared models, must be as usable as the ones that the updates made.
    """
    if not isinstance(result, Averaged) or job.model_codec == FLOAT32:
        return None
    before, base = past.coding(), past.base()
    trials = {name: Trial(job.task.network, base.vectors[name], job.samples) for name in job.parts.models}

    def passes(name: str, vector: Vector) -> bool:
        return trials[name].passes(vector) if name in trials else _is_finite(vector)

    made = {WEIGHTS: result.vector, **result.vectors}
    key = key_for(job.round, job.model_codec, job.key_every, before, base)
    return coded(job.round, made, job.model_codec, job.seed, before.errors, key, passes)


def computed(
    job: ClosingJob, result: Averaged | Unusable | Unmade, coding: Coding | None = None
) -> Computed | Unusable | Unmade:
    """The outcome of a round that closes with this result, whose model has this coded form, if any."""
    if not isinstance(result, Averaged):
        return result
    assert job.model is not None
    lines: list[Remark] = []
    if coding is not None:
        vectors = dict(coding.vectors)
        result = replace(result, vector=vectors.pop(WEIGHTS), vectors=vectors)
    elif job.model_codec != FLOAT32:
        line = f"round {job.round}: the model in {job.model_codec} is not usable: it is sent in float32"
        lines.append((logging.WARNING, line))
    data = model_message(job.round, result.vector, result.vectors)
    return Computed(
        task=job.task,
        task_blob=job.task_blob,
        task_data=None,
        model=blob_of(data, 1 - job.model.slot),
        model_data=data,
        devices=result.devices,
        samples=result.samples,
        summary=result.summary,
        vector=result.vector,
        rule=job.parts.rule.made(RULES).version,
        fleet=result.fleet,
        told=result.told,
        clusters=tuple(result.vectors[name] for name in job.parts.models[1:]),
        before=(
            *((logging.WARNING, f"round {job.round}: {line}") for line in result.bounded),
            *((logging.WARNING, f"round {job.round}: {line}") for line in named(result.weighed)),
            *lines,
        ),
        after=remarks.of_clusters(job, result.told.get("clusters", ())),
        state=result.state,
        weighed=result.weighed,
        coding=coding,
        inputs=result.inputs,
    )


def averaged(
    ledger: LedgerReader, job: ClosingJob, base: Vector, go_on: Callable[[], None] = lambda: None
) -> Averaged | Unusable | Unmade:
    """Compute the next model from the admitted updates, and the round's figures.

    Args:
        ledger: holds the updates.
        job: the round to close.
        base: the weights, of shape (p,), that the updates began from.
        go_on: called before each update is read; what it raises ends the work.

    Raises:
        DamagedState: an admitted update is missing or damaged; without it the mean would be a different one.
        PartError: a part of the algorithm fails.
    """
    codec = job.parts.codec.name, job.parts.codec.made(CODECS)
    shared = shared_by(job.parts.personal, job.task.network)
    updates = Updates(
        ledger,
        job.round,
        len(base),
        go_on,
        codec=codec,
        base=base,
        shared=shared,
        seed=job.seed,
        known=job.answers,
    )
    return combined(updates, LedgerPast(ledger, job), job, base)


def combined(
    updates: RoundUpdates, past: Past, job: ClosingJob, base: Vector
) -> Averaged | Unusable | Unmade:
    """As `averaged`, from the updates and from what the rounds before left."""
    parts = job.parts
    trial = Trial(job.task.network, base, job.samples)
    if not trial.base_is_usable:
        log.error(
            "round %s: the model that it began from gives finite outputs on none of the probe inputs; %s",
            job.round,
            round_log.way_back(job.round._replace(round=job.round.round - 1)),
        )
    rule = parts.rule.made(RULES)
    if is_private(parts.rule):
        return _private(updates, past, job, base, trial)
    found = usable(updates, base, job.factors, trial.passes, rule, state=past.rule_state(rule, len(base)))
    if not isinstance(found, Aggregate):
        return found
    parts = replace(parts, fleet=past.fleet(updates.answers))
    share = share_of(parts, updates.answers)
    aggregates: dict[str, Vector] = {}
    lengths: dict[str, float] = {}
    if len(found.devices) == 2:
        lengths[MEAN] = distance(base, found.vector)
    bounded = remarks.bounded(job.factors, found, reads_steps=parts.rule.name != ENTRY_MEAN.name)
    for name in parts.hands_on:
        nothing = np.zeros_like(base)
        further = usable(updates, nothing, job.factors, _is_finite, rule, name)
        if not isinstance(further, Aggregate):
            return further
        aggregates[name] = further.vector
        lengths[f"{MEDIAN}.{name}"] = further.bounds.median_norm
        if len(further.devices) == 2:
            # the shorter of the two, which may be a lie, clips the longer one and not what is usual
            whole = aggregate(updates, nothing, replace(job.factors, clip_norm=0.0), name=name)
            lengths[f"{MEAN}.{name}"] = distance(nothing, whole.vector)
        bounded += remarks.shortened(further, f"{name} vectors")
    vectors = handed_on(job.round, parts.local, past.vectors, aggregates, share)
    if bad := ", ".join(name for name, each in vectors.items() if not _is_finite(each)):
        return Unmade(
            f"the vector {bad} that [plan] local {parts.local.name} makes from the updates is not finite: "
            "begin a new generation with `fedge-aggregator new-generation --keep-model`, with another "
            "[plan] local if this happens again"
        )
    vector, state = stepped(past, job, base, found.vector, share)
    if vector is not found.vector and not trial.passes(vector):
        return _unusable_step(parts)
    summary = told(job, updates.answers)
    moved = distance(base, vector)
    summary["weight_change"] = moved / max(distance(np.zeros_like(base), base), 1e-38)
    summary |= {"clip_norm": job.factors.clip_norm, "max_weight": job.factors.max_weight}
    summary["moved"] = moved
    if len(found.devices) > 1:  # the median of one would be that device's own claim
        summary |= {MEDIAN: found.bounds.median_norm, **lengths}
    return Averaged(
        vector,
        len(found.devices),
        sum(found.samples),
        summary,
        tuple(bounded),
        vectors,
        server_state.joined(state, found.state),
        parts.fleet,
        weighed=weighed(found, past.far_running, measures=rule.measures),
    )


def _private(
    updates: RoundUpdates, past: Past, job: ClosingJob, base: Vector, trial: Trial
) -> Averaged | Unmade:
    """As `combined`, with noise for differential privacy: what is made of single updates is left out.

    No update is measured, bounded or set aside because of the others, and no figure that devices told counts.
    """
    parts, rule = job.parts, job.parts.rule.made(RULES)
    assert job.model is not None
    assert job.noise is not None
    inputs = inputs_of(job.round, job.model.digest, job.noise, updates.answers)
    found = aggregate(updates, base, job.factors, rule, state=past.rule_state(rule, len(base)))
    parts = replace(parts, fleet=past.fleet(updates.answers))
    vector, state = stepped(past, job, base, found.vector, share_of(parts, updates.answers))
    if not trial.passes(vector):
        return Unmade(
            "the model with its noise is not finite, or its outputs are not: set a smaller [privacy] clip in "
            "a federation of another name",
            inputs,
        )
    moved = distance(base, vector)
    return Averaged(
        vector,
        len(found.devices),
        len(found.devices),
        {
            "weight_change": moved / max(distance(np.zeros_like(base), base), 1e-38),
            "clip_norm": job.factors.clip_norm,
            "max_weight": job.factors.max_weight,
            "moved": moved,
        },
        state=server_state.joined(state, found.state),
        fleet=parts.fleet,
        inputs=inputs,
    )


def averaged_by_cluster(
    ledger: LedgerReader, job: ClosingJob, bases: Sequence[Vector], go_on: Callable[[], None] = lambda: None
) -> Averaged | Unusable | Unmade:
    """As `averaged`, for several shared models; `bases`: those that the round was announced with."""
    parts = job.parts
    clusters = clustered.clusters_in(ledger, job.round, parts, bases, go_on)
    trials = [Trial(job.task.network, each.base, job.samples) for each in clusters]
    whole = clustered.medians_of(clusters)
    assert whole is not None
    passes = [trial.passes for trial in trials]
    rule, past = parts.rule.made(RULES), LedgerPast(ledger, job)
    results = clustered.made(clusters, job.factors, passes, rule, whole)
    if not isinstance(results, tuple):
        return results
    answers = {device: answer for each in clusters for device, answer in each.updates.answers.items()}
    summary = told(job, dict(sorted(answers.items(), key=lambda item: order(item[0]))))
    parts = replace(parts, fleet=past.fleet(answers))
    models = []
    for each, found, trial in zip(clusters, results, trials, strict=True):
        if found is None:
            models.append(each.base)
            continue
        vector = clustered.stepped(each, found.vector, parts, share_of(parts, answers))
        if vector is not found.vector and not trial.passes(vector):
            return _unusable_step(parts)
        models.append(vector)
    moved = [distance(each.base, model) for each, model in zip(clusters, models, strict=True)]
    lengths = [max(distance(np.zeros_like(each.base), each.base), 1e-38) for each in clusters]
    summary["weight_change"] = max(m / length for m, length in zip(moved, lengths, strict=True))
    summary |= {"clip_norm": job.factors.clip_norm, "max_weight": job.factors.max_weight}
    summary["moved"] = max(moved)
    if len(answers) > 1:  # the median of one would be that device's own claim
        summary[MEDIAN] = whole.norm
    if len(answers) == 2:
        made = zip(clusters, results, strict=True)
        summary[MEAN] = max(distance(each.base, found.vector) for each, found in made if found)
    kept = clustered.left_out(clusters, results)
    bounded = [
        f"model {number}: {line}"
        for number, made in enumerate(results)
        if made is not None
        for line in remarks.bounded(job.factors, made, reads_steps=parts.rule.name != ENTRY_MEAN.name)
    ]
    bounded += [
        f"model {each.number} stays as it is: it has {len(each.updates.answers)} of the {rule.fewest} "
        f"updates that {needing(parts.rule)} needs; they do not count"
        for each in kept
    ]
    return Averaged(
        models[0],
        len(answers),
        sum(answer.samples for answer in answers.values()),
        summary,
        tuple(bounded),
        dict(zip(parts.models[1:], models[1:], strict=True)),
        fleet=parts.fleet,
        told={"clusters": [len(each.updates.answers) for each in clusters]},
        weighed={
            device: each
            for made in results
            if made is not None
            for device, each in weighed(made, past.far_running, measures=rule.measures).items()
        }
        | {
            device: uncounted(size.norm, whole.norm)
            for each in kept
            for device, size in sizes_of(each.updates, each.base).items()
        },
    )


def _unusable_step(parts: Parts) -> Unmade:
    return Unmade(
        f"the model that [server] {parts.server.name} makes from the updates is not finite, or its "
        "outputs are not: set other options in [server] and start the aggregator again, or begin a new "
        "generation with `fedge-aggregator new-generation --keep-model`, whose optimizer begins anew"
    )


def stepped(
    past: Past, job: ClosingJob, base: Vector, aggregate: Vector, share: float
) -> tuple[Vector, State]:
    """Apply the server optimizer to the aggregate; returns its next state too."""
    server = job.parts.server.made(SERVER)
    state = past.state(server, len(base))
    return server_state.step(job.round, job.parts.server, server, base, aggregate, state, share)


def _is_finite(vector: NDArray[np.floating[Any]]) -> bool:
    return bool(np.isfinite(vector).all())


ENTRY = Entry("phase", "train", Train)
