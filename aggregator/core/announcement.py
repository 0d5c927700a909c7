"""The announcement of a round: task and model first, then the manifest; and our own presence. Pure."""

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import patience
from aggregator.core.ability import plan_to_tell, requirements, unable
from aggregator.core.awaited import counted_anew
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.per_device import PerDevice
from aggregator.core.places import here, is_uncertain, moved
from aggregator.phases.phase import phase_of
from fedge.algorithms.plan import Plan
from fedge.frozen import replace
from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.protection import Protection
from fedge.wire.messages.service import Service

LOWEST_RATE = 1e-12
"""The lowest learning rate that `rate_decay` leads to; a plan's rate is above 0."""


def link_up(state: Federation, event: on.LinkUp) -> Step:
    """Subscribe, and publish everything again."""
    # Also if our session still exists: a broker that crashed may have lost its last seconds, with frames that
    # it had acknowledged.
    state = replace(state, link_up=True, exported=None, published=False)
    if state.announced and state.stage in (Stage.COLLECTING, Stage.CLOSING):
        state = _time_runs(state, event.now_s)  # the manifest is retained, so devices answer already now
    effects: list[do.Effect] = [do.Subscribe(), do.PublishService(service(state))]
    if event.kept and is_uncertain(state, event.finer):
        return replace(state, finer=event.finer), [*effects, *announce(state, event.now_s)]
    state, moves = moved(replace(state, finer=frozenset()), event.finer)
    return state, [*moves, *effects, blobs_of(state)]


def acknowledged(state: Federation, event: on.Announced) -> Step:
    """Note which slots devices read from now on; move what waited for that."""
    state = replace(state, named=event.slots, naming=None if state.naming == event.slots else state.naming)
    if not state.finer or not state.link_up:
        return state, []
    state, moves = moved(replace(state, finer=frozenset()), state.finer)
    return state, [*moves, blobs_of(state)]


def link_down(state: Federation, event: on.LinkDown) -> Step:
    """Stop the round's time, because no device can receive anything or answer."""
    effects: list[do.Effect] = []
    if state.since_s is not None:
        state = replace(state, elapsed_s=state.elapsed(event.now_s), since_s=None)
        effects.append(do.SaveElapsed(state.round, state.elapsed_s))
    pushed_out = state.pushed_out + event.taken_over
    return replace(state, link_up=False, published=False, pushed_out=pushed_out), effects


def _time_runs(state: Federation, now_s: float) -> Federation:
    """Start the round's time, and the waiting for devices over this connection."""
    return replace(
        state,
        since_s=now_s,
        waiting_from_s=state.elapsed_s,
        came_s=PerDevice(),
        waited_s=PerDevice(),
        left_s=PerDevice(),
    )


def blobs_of(state: Federation) -> do.PublishBlobs:
    """Publish what the broker must hold before the round is announced."""
    return do.PublishBlobs(state.round, state.task, state.model, state.form)


def blobs_published(state: Federation, event: on.BlobsPublished) -> Step:
    """Announce the round once the broker holds task and model; log it if it refuses them."""
    if event.round != state.round or not state.link_up:
        return state, []
    if event.refusal is not None:
        return state, [do.Log("error", f"the broker refuses the model: {event.refusal}")]
    if state.stage is not Stage.DONE and state.since_s is None:
        state = _time_runs(state, event.now_s)
    state = replace(
        state, published=True, announced=True, naming=None if here(state) == state.named else here(state)
    )
    if state.stage is Stage.PREPARING:
        state = counted_anew(replace(state, stage=Stage.COLLECTING))
        effects = [*unable(state), *patience.too_few(state), *announce(state, event.now_s)]
    else:
        effects = announce(state, event.now_s)
    key = state.form.key if state.form is not None else None
    effects.append(
        do.ClearSlots(
            state.task.slot, state.model.slot if state.model else None, key.slot if key is not None else None
        )
    )
    return state, effects + _export(state)


def _export(state: Federation) -> list[do.Effect]:
    """Export a model after the newest round, unless the broker is known to hold that export."""
    wanted = state.model is not None and state.exported != model_round(state)
    return [do.ExportModel(model_round(state))] if wanted else []


def model_round(state: Federation) -> RoundId:
    """The round whose model is the newest."""
    if state.stage is Stage.DONE:
        return state.round
    return state.round._replace(round=state.round.round - 1)


def announce(state: Federation, now_s: float) -> list[do.Effect]:
    """Announce the open attempt, or that learning is done."""
    done = state.stage is Stage.DONE
    left_s = 0.0 if done else max(0.0, state.rules.deadline_s - state.elapsed(now_s))
    kind = phase_of(state.kind).done_as if done else state.kind
    manifest = Manifest(
        generation=state.round.generation,
        round=state.round.round,
        # After learning, the last round is announced once more, as done.
        attempt=state.attempt + (1 if done else 0),
        kind=kind,
        state="done" if done else "open",
        seed=state.seed,
        task=state.task,
        model=state.model,
        coded=state.form.coded if state.form is not None else None,
        key=state.form.key if state.form is not None else None,
        plan=plan_to_tell(kind, plan_of(state)),
        cohort=state.cohorts[-1],
        seconds_left=left_s,
        requires=tuple(sorted(requirements(state, kind))),
        max_samples=state.max_samples,
        max_payload_bytes=state.max_payload_bytes if state.max_payload_bytes < MAX_PAYLOAD else None,
        protection=_protection(state, kind),
        max_staleness=state.rules.max_staleness if phase_of(kind).trains and not done else None,
    )
    return [do.PublishManifest(manifest)]


def _protection(state: Federation, kind: str) -> Protection | None:
    """What a round of this kind promises; None: nothing."""
    told = state.protection
    if kind == "masked" and state.masking is not None:
        return state.masking.promise(told.privacy if told is not None else None)
    return told


def plan_of(state: Federation) -> Plan:
    """The plan of the open round r: its learning rate is α · decay^(r-1), at least α · floor.

    It depends on the round and the settings alone, so it is the same after a restart.
    """
    if state.rate_decay == 1.0:
        return state.plan
    rate = state.plan.learning_rate
    lowest = max(min(rate, LOWEST_RATE), rate * state.rate_floor)
    lowered = max(lowest, rate * state.rate_decay ** max(0, state.round.round - 1))
    return state.plan.model_copy(update={"learning_rate": lowered})


def service(state: Federation, *, online: bool = True) -> Service:
    """The presence to publish; with `online=False` the offline status."""
    return Service(online=online, ledger=state.ledger, instance=state.instance, beat=state.beat)
