"""A new announcement: which work goes on, and which is dropped."""

from dataclasses import replace

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Asking, Device, Fetching, Idle, Reporting, Working
from agent.core.lifecycle.conditions import with_readings
from agent.core.lifecycle.decision import decide
from agent.core.lifecycle.outcome import Step
from agent.core.lifecycle.statuses import holds_the_final_model, status
from fedge.identity.trust import fingerprint
from fedge.wire.freshness import Attempt, round_of
from fedge.wire.messages.manifest import Manifest

MAX_PLAN_CHANGES = 8
"""Changes of the plan that count within one attempt: two plans by turns would never let any work end."""


def take_announcement(state: Device, event: on.RoundAnnounced) -> Step:
    """Take an announcement: of a new round or attempt, a repeated one, or an outdated one."""
    manifest, now_s = event.manifest, event.now_s
    announced = _attempt_of(manifest)
    effects: list[do.Effect] = []
    if event.signers != state.signers:
        text = f"models are signed with the key {fingerprint(event.signers[-1])} now, as the one before said"
        effects += [do.SaveSigners(event.signers, announced), do.Log("warning", text)]
        # The former key may have been stolen. Its thief may have signed a round number that no later round
        # exceeds, or another model under this number: what was begun under that key begins anew.
        state = replace(state, signers=event.signers, seen=announced, manifest=None)
        effects.append(do.PublishStatus(status(state)))
    if announced < state.seen:
        if state.passed_over == state.seen:
            return state, []  # logged already, and a replay is cheap to repeat
        text = f"ignored an announcement of round {announced}: this device has seen round {state.seen}"
        state = replace(state, passed_over=state.seen)
        return state, [do.Log("warning", text), do.PublishStatus(status(state))]
    state = with_readings(state, now_s, event.readings)
    current = state.manifest
    closes_s = now_s + event.left_s
    same_work = current is None or made_from(manifest) == made_from(current)
    same_state = current is not None and current.state == manifest.state
    if current is not None and same_state and round_of(current) == announced.round and not same_work:
        # Another aggregator announces this number, with another history. The saved update does not answer it,
        # and its final model differs.
        state = replace(state, saved=None)
    elif current is not None and announced == state.seen:
        if manifest.state != current.state:
            return state, effects
        state = replace(state, closes_s=closes_s)  # repeated by an aggregator that was restarted
        if _asks(manifest) != _asks(current) and state.plan_changes < MAX_PLAN_CHANGES:
            state, more = _take_changed_plan(state, manifest, now_s)
            return state, effects + more
        if not isinstance(state.work, Idle):
            return state, effects
        state, more = decide(state, now_s)
        return state, effects + more

    same_round = current is not None and round_of(current) == announced.round and manifest.state == "open"
    same_round = same_round and same_work
    same_plan = current is not None and _asks(manifest) == _asks(current)
    state = replace(
        state, seen=announced, manifest=manifest, closes_s=closes_s, declined=None, plan_changes=0
    )
    match state.work:
        # Another attempt of the round that it works on: the work stays valid.
        case Fetching(to_work=True) | Working() if same_round and same_plan:
            return state, effects
        case Reporting() if same_round:
            return state, [*effects, do.SaveSeen(announced), *([] if same_plan else _told_of_update(state))]
        case Working(round=older):
            effects.append(do.CancelWork(older))
        case Fetching():
            effects.append(do.StopFetching())
    state, more = decide(replace(state, work=Idle()), now_s)
    if not _begun(state):
        effects.append(do.SaveSeen(announced))
        if not more and holds_the_final_model(state):  # not reported yet
            more.append(do.PublishStatus(status(state)))
    return state, effects + more


def made_from(manifest: Manifest) -> tuple[bytes, bytes | None]:
    """The digests that an answer to an announcement depends on: those of task and model."""
    return manifest.task.digest, manifest.model.digest if manifest.model is not None else None


def _begun(state: Device) -> bool:
    """Whether work has begun, whose update is saved together with the attempt: one write to the SD card."""
    return isinstance(state.work, Working) or (isinstance(state.work, Fetching) and state.work.to_work)


def _asks(manifest: Manifest) -> tuple[object, ...]:
    """What an aggregator may change in the middle of a round: it is restarted with another plan or cap."""
    return manifest.plan, manifest.requires, manifest.max_samples


def _take_changed_plan(state: Device, manifest: Manifest, now_s: float) -> Step:
    """Take up a plan that was changed in the middle of the round that this device has seen.

    Work that has no result yet is dropped and decided on anew. An update that is made is still sent: the
    aggregator says whether it fits the new plan. A question about an earlier update goes on: its answer leads
    to work by the new plan.
    """
    former = state
    state = replace(state, manifest=manifest, plan_changes=state.plan_changes + 1)
    dropped: list[do.Effect] = []
    if state.plan_changes == MAX_PLAN_CHANGES:
        text = f"round {state.seen.round}: further changes of its plan do not count in this attempt"
        dropped.append(do.Log("warning", text))
    match former.work:
        case Reporting():
            return state, dropped + _told_of_update(state)
        case Working(round=round_id):
            text = f"round {round_id}: its plan was changed: the work under way is dropped"
            dropped += [do.CancelWork(round_id), do.Log("info", text)]
        case Fetching():
            dropped.append(do.StopFetching())
        case Idle():
            pass
    state, effects = decide(replace(state, work=Idle(), declined=None), now_s)
    if _begun(former) and not _begun(state):
        dropped.append(do.SaveSeen(state.seen))  # it was to be saved together with the update
    if former.declined is not None and state.declined is None:
        dropped.append(do.PublishStatus(status(state)))
    return state, dropped + effects


def _told_of_update(state: Device) -> list[do.Effect]:
    """The log line about an update that is being sent while its plan changes; none for a question."""
    if isinstance(state.work, Asking):
        return []
    text = f"round {state.seen.round}: its plan was changed: the update was made by the plan before"
    return [do.Log("info", text)]


def _attempt_of(manifest: Manifest) -> Attempt:
    return Attempt(round_of(manifest), manifest.attempt)
