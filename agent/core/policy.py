"""Decides what a device can do, and what its owner allows at this moment, from its state. Pure."""

from collections.abc import Iterator

from agent.core.conditions import objections
from agent.core.device import Device
from agent.core.limits import (
    Objection,
    beyond_budget,
    beyond_plan,
    beyond_room,
    beyond_sources,
    expected_bytes,
)
from fedge.wire.capabilities import lacking, of_manifest, of_model
from fedge.wire.freshness import round_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.reasons import Reason
from fedge.wire.topics import LONGEST_BEFORE


def objections_to_work(state: Device, manifest: Manifest) -> Iterator[Objection]:
    """Find all objections to the work of a round, as far as the round is known."""
    yield from beyond_program(state, manifest)
    if manifest.kind == "train" and round_of(manifest) == state.masked_in:
        detail = "this round was masked before, so no update of it leaves this device without masks"
        yield Objection(Reason.UNSUPPORTED, detail)
    yield from beyond_plan(state.limits, manifest)
    yield from beyond_room(state.limits, manifest)
    if not state.lacks_task:
        yield from objections_to_source(state)
    yield from objections(state.conditions, state.readings)
    expected = expected_bytes(
        manifest,
        task=state.lacks_task,
        model=state.lacks_model,
        update=True,
        held=(state.key, state.model),
    )
    yield from beyond_budget(state.limits, state.readings.spent, expected)


def beyond_program(state: Device, manifest: Manifest) -> Iterator[Objection]:
    """Object to names that a round requires and this program lacks, as far as the round is known."""
    yield from _unheard(state, manifest)
    yield from _beyond(state, of_manifest(manifest) | _unknown(state, manifest))


def _unheard(state: Device, manifest: Manifest) -> Iterator[Objection]:
    """Object to an aggregator of 0.2.0 (it lists no requirements) if this device's id is too long for it."""
    if manifest.requires is None and (length := len(state.device)) > LONGEST_BEFORE:
        detail = (
            "this aggregator is of version 0.2.0, which ignores devices whose id has more than "
            f"{LONGEST_BEFORE} characters, and {state.device!r} has {length}; upgrade the aggregator, or "
            "give this device a shorter id"
        )
        yield Objection(Reason.UNSUPPORTED, detail)


def beyond_model(state: Device, manifest: Manifest) -> Iterator[Objection]:
    """Object to names that a round's model needs and this program lacks, as far as the round is known."""
    yield from _beyond(state, of_model(manifest) | _unknown(state, manifest))


def _unknown(state: Device, manifest: Manifest) -> frozenset[str]:
    """Return the names in task and model, as far as they are in memory, that this program does not know."""
    task = () if state.lacks_task else state.task_unknown
    model = () if manifest.model is None or state.lacks_model else state.model_unknown
    return frozenset((*task, *model))


def _beyond(state: Device, needed: frozenset[str]) -> Iterator[Objection]:
    if names := lacking(needed & state.untrained, state.can):
        detail = (
            f"the trainer of [trainer] use does not do {', '.join(names)}: list the name in its "
            "`algorithms`, or remove [trainer] use"
        )
        yield Objection(Reason.UNSUPPORTED, detail)
    if names := lacking(needed & state.unjudged, state.can):
        detail = (
            "[predict] tolerance compares the announced weights, and these are no model that this device "
            f"uses with {', '.join(names)}: remove [predict] tolerance to take part"
        )
        yield Objection(Reason.UNSUPPORTED, detail)
    if names := lacking(needed & state.uncertified, state.can):
        detail = (
            f"{', '.join(names)} needs a certificate of this device ([broker] ca, certificate and key) and "
            "the extra `secure`: pip install 'fedge[secure]'"
        )
        yield Objection(Reason.UNSUPPORTED, detail)
    if names := lacking(needed - state.untrained - state.unjudged - state.uncertified, state.can):
        detail = f"this program (Fedge {state.version}) cannot do {', '.join(names)}; upgrade it"
        yield Objection(Reason.UNSUPPORTED, detail)


def objections_to_source(state: Device) -> Iterator[Objection]:
    """Find all objections to the source that the task names."""
    yield from beyond_sources(state.limits, state.offered, state.source)


def can_follow(state: Device) -> bool:
    """Whether this program can use the announced model, and today's budget is enough to fetch it."""
    assert state.manifest is not None
    if next(beyond_model(state, state.manifest), None) is not None:
        return False
    expected = expected_bytes(
        state.manifest,
        task=state.lacks_task,
        model=state.lacks_model,
        update=False,
        held=(state.key, state.model),
    )
    return _can_afford(state, expected)


def used_up(state: Device) -> bool:
    """Whether today's budget of bytes is used up."""
    return not _can_afford(state, 1)


def _can_afford(state: Device, expected: int) -> bool:
    return not any(beyond_budget(state.limits, state.readings.spent, expected))
