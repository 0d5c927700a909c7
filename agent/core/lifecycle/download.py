"""Downloads task and model: decides what is fetched, requested again, and kept in the model file."""

from itertools import chain

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Device, Fetching, Idle, Working
from agent.core.lifecycle.outcome import Step
from agent.core.lifecycle.statuses import decline, status
from agent.core.policy import beyond_model, beyond_program, can_follow, objections_to_source
from fedge.frozen import replace
from fedge.wire.freshness import round_of
from fedge.wire.messages.manifest import Manifest

FETCH_RETRY_S, LONGEST_FETCH_RETRY_S = 15.0, 240.0
KEEP_AGAIN_S = 60.0
"""Seconds until a device tries again to write a model, after its disk has failed."""


def may_follow(state: Device) -> bool:
    """Whether the announced model is another than the one in the file."""
    return (
        state.manifest is not None
        and state.manifest.model is not None
        and state.manifest.model.digest != state.kept
    )


def follow_due_s(state: Device) -> float:
    """Return when to follow the announced model without any work, in monotonic seconds."""
    due = state.followed_s + state.follow_s
    return due if can_follow(state) else max(due, state.measure_s)


def fetch(state: Device, now_s: float, *, to_work: bool, tries: int = 0) -> Step:
    """Request what is missing of task and model; if nothing is, go on at once."""
    assert state.manifest is not None
    task, model = state.lacks_task, state.lacks_model
    if not (task or model):
        return _ready(state, now_s, to_work=to_work)
    work = Fetching(to_work, now_s + _fetch_pause_s(tries), tries)
    return replace(state, work=work), [do.Fetch(state.manifest, task, model)]


def _fetch_pause_s(tries: int) -> float:
    return min(LONGEST_FETCH_RETRY_S, FETCH_RETRY_S * 2.0**tries)


def take_frame(state: Device, now_s: float) -> Device:
    """Wait longer. A new request would make the broker send everything again, after what it sends now."""
    if not isinstance(state.work, Fetching):
        return state
    return replace(state, work=replace(state.work, due_s=now_s + _fetch_pause_s(state.work.tries)))


def take_content(state: Device, event: on.Fetched) -> Step:
    """Handle a task or a model that was fetched. Once both are there, go on."""
    if not isinstance(state.work, Fetching) or state.manifest is None:
        return state, []
    manifest = state.manifest
    if event.kind == "task" and event.digest == manifest.task.digest:
        state = replace(state, task=event.digest, source=event.source, task_unknown=event.unknown)
    elif event.kind == "model" and manifest.model is not None and event.digest == manifest.model.digest:
        key = manifest.key.digest if manifest.key is not None else state.key
        state = replace(state, model=event.digest, model_unknown=event.unknown, key=key)
    if state.lacks_task or state.lacks_model:
        return state, []
    assert isinstance(state.work, Fetching)
    state, effects = _ready(state, event.now_s, to_work=state.work.to_work)
    return state, [do.StopFetching(), *effects]


def _ready(state: Device, now_s: float, *, to_work: bool) -> Step:
    """Go on with task and model, which are both in memory."""
    manifest = state.manifest
    assert manifest is not None
    if to_work:
        # The task is known by now. The owner's conditions are not checked again, so begun work is finished.
        objection = next(chain(beyond_program(state, manifest), objections_to_source(state)), None)
        if objection is not None:
            state, effects = decline(replace(state, work=Idle()), manifest, objection)
            return state, [do.SaveSeen(state.seen), *effects]
        state, effects = _with_state(state, manifest)
        return replace(state, work=Working(round_of(manifest))), [*effects, do.StartWork(manifest)]
    objection = next(beyond_model(state, manifest), None)
    if objection is not None:
        text = f"round {round_of(manifest)}: its model is not followed: {objection.detail}"
        return replace(state, work=Idle()), [do.Log("warning", text)]
    state, effects = keep(replace(state, work=Idle()), now_s)
    if manifest.state == "done":
        effects.append(do.PublishStatus(status(state)))
    return state, effects


def _with_state(state: Device, manifest: Manifest) -> Step:
    """Let the algorithm begin anew if its state is of this round or a later one, so of another history."""
    if (
        manifest.kind not in ("train", "masked")
        or state.remembers is None
        or round_of(manifest) > state.remembers
    ):
        return state, []
    text = (
        f"round {round_of(manifest)}: the algorithm's state is of round {state.remembers} of another "
        "history: the algorithm begins anew"
    )
    return replace(state, remembers=None), [do.ResetState(), do.Log("warning", text)]


def keep(state: Device, now_s: float) -> Step:
    """Write the model in memory to the model file, if that holds an older one."""
    manifest = state.manifest
    if manifest is None or manifest.model is None or manifest.model.digest == state.kept:
        return state, []
    return replace(state, kept=manifest.model.digest, followed_s=now_s), [do.KeepModel(manifest)]
