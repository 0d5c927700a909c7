"""Handles a new announcement: decides which work goes on, and which is dropped."""

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Asking, Device, Fetching, Idle, Reporting, Working
from agent.core.lifecycle.buffering import go_on, goes_on
from agent.core.lifecycle.conditions import with_readings
from agent.core.lifecycle.decision import decide
from agent.core.lifecycle.download import fetch
from agent.core.lifecycle.outcome import Step
from agent.core.lifecycle.statuses import holds_the_final_model, status
from agent.core.protection import unprotected
from fedge.frozen import replace
from fedge.identity.trust import fingerprint
from fedge.wire.freshness import Attempt, round_of
from fedge.wire.messages.manifest import Manifest

CONTENTS = ("task", "model", "coded", "key")
"""What a manifest announces."""
MAX_PLAN_CHANGES = 8
"""How many changes of the plan count within one attempt. Otherwise two alternating plans would keep any work
from ending."""


def take_announcement(state: Device, event: on.RoundAnnounced) -> Step:
    """Handle an announcement: of a new round or attempt, a repeated one, or an outdated one."""
    manifest, now_s = event.manifest, event.now_s
    announced = _attempt_of(manifest)
    effects: list[do.Effect] = []
    if event.signers != state.signers:
        key = fingerprint(event.signers[-1])
        text = f"models are signed with the key {key} now, which the former key has named as its successor"
        effects += [do.SaveSigners(event.signers, announced), do.Log("warning", text)]
        # The former key may have been stolen. Its thief may have signed a round number that no later round
        # exceeds, or another model with this number. So work that was begun under that key begins anew.
        state = replace(state, signers=event.signers, seen=announced, manifest=None)
        effects.append(do.PublishStatus(status(state)))
    if announced < state.seen:
        if state.passed_over == state.seen:
            return state, []  # logged already; an attacker can replay announcements without effort
        text = f"ignored an announcement of round {announced}: this device has seen round {state.seen}"
        state = replace(state, passed_over=state.seen)
        return state, [do.Log("warning", text), do.PublishStatus(status(state))]
    state = with_readings(state, now_s, event.readings)
    current = state.manifest
    closes_s = now_s + event.left_s
    same_work = current is None or made_from(manifest) == made_from(current)
    same_state = current is not None and current.state == manifest.state
    if current is not None and same_state and round_of(current) == announced.round and not same_work:
        # Another aggregator announces this round number, with another history. An update that was saved for
        # it does not answer it, and its final model differs. The verdict on one of an earlier round is still
        # to be asked for, if a state waits for it.
        if state.saved is not None and state.saved.round == announced.round:
            state = replace(state, saved=None)
    elif current is not None and announced == state.seen:
        if manifest.state != current.state:
            return state, effects
        state = replace(state, closes_s=closes_s)  # repeated by an aggregator that was restarted
        if _asks(manifest) != _asks(current) and state.plan_changes < MAX_PLAN_CHANGES:
            state, more = _take_changed_plan(state, manifest, now_s)
            return state, effects + more
        if _asks(manifest) == _asks(current):
            state = replace(state, manifest=current.model_copy(update=_place(manifest)))
            if isinstance(state.work, Fetching) and _slots(manifest) != _slots(current):
                # Cut anew for another broker, it lies in other slots; those before are cleared.
                state, more = fetch(state, now_s, to_work=state.work.to_work)
                return state, effects + more
        if not isinstance(state.work, Idle):
            return state, effects
        state, more = decide(state, now_s)
        return state, effects + more

    same_round = current is not None and round_of(current) == announced.round and manifest.state == "open"
    same_round = same_round and same_work
    same_plan = current is not None and _asks(manifest) == _asks(current)
    enough = next(unprotected(state.trust, manifest), None) is None
    older_work = enough and goes_on(state, manifest)
    state = replace(
        state, seen=announced, manifest=manifest, closes_s=closes_s, declined=None, plan_changes=0
    )
    if manifest.kind == "masked":
        state = replace(state, masked_in=announced.round)
    if older_work:
        state, more = go_on(state, now_s)
        return state, effects + more
    match state.work:
        # This is another attempt of the round that the device works on. The work stays valid.
        case Fetching(to_work=True) | Working() if same_round and same_plan and enough:
            return state, effects
        case Reporting() if same_round and enough:
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
    """Return the digests on which the answer to an announcement depends: those of task and model."""
    return manifest.task.digest, manifest.model.digest if manifest.model is not None else None


def _begun(state: Device) -> bool:
    """Whether work has begun. Its update is saved together with the attempt, in one write to the SD card."""
    return isinstance(state.work, Working) or (isinstance(state.work, Fetching) and state.work.to_work)


def _place(manifest: Manifest) -> dict[str, object]:
    """Return where everything is, and in which frames: another broker or setting may change that."""
    return {name: getattr(manifest, name) for name in (*CONTENTS, "max_payload_bytes")}


def _slots(manifest: Manifest) -> list[int | None]:
    """Return the slots of everything that is announced."""
    blobs = [getattr(manifest, name) for name in CONTENTS]
    return [blob.slot if blob is not None else None for blob in blobs]


def _asks(manifest: Manifest) -> tuple[object, ...]:
    """Return what can change in the middle of a round, if the aggregator is restarted with other settings."""
    return manifest.plan, manifest.requires, manifest.max_samples, _promise(manifest)


def _promise(manifest: Manifest) -> object:
    """Return what the round promises, without what has been released, which grows."""
    told = manifest.protection
    if told is None or told.privacy is None:
        return told
    return told.model_copy(update={"privacy": told.privacy.model_copy(update={"witness": None})})


def _take_changed_plan(state: Device, manifest: Manifest, now_s: float) -> Step:
    """Handle a plan that was changed in the middle of the round that this device has seen.

    Work without a result is dropped, and the device decides again. A finished update is still sent, and the
    aggregator says whether it fits the new plan. A question about an earlier update goes on. Its answer leads
    to work by the new plan.
    """
    former = state
    state = replace(state, manifest=manifest, plan_changes=state.plan_changes + 1)
    dropped: list[do.Effect] = []
    if state.plan_changes == MAX_PLAN_CHANGES:
        text = f"round {state.seen.round}: further changes of its plan are ignored in this attempt"
        dropped.append(do.Log("warning", text))
    enough = next(unprotected(state.trust, manifest), None) is None
    match former.work:
        case Reporting() if enough:
            return state, dropped + _told_of_update(state)
        case Working(round=round_id):
            text = f"round {round_id}: its plan was changed: the present work is dropped"
            dropped += [do.CancelWork(round_id), do.Log("info", text)]
        case Fetching():
            dropped.append(do.StopFetching())
        case Idle() | Reporting():
            pass
    state, effects = decide(replace(state, work=Idle(), declined=None), now_s)
    if _begun(former) and not _begun(state):
        dropped.append(do.SaveSeen(state.seen))  # it would have been saved together with the update
    if former.declined is not None and state.declined is None:
        dropped.append(do.PublishStatus(status(state)))
    return state, dropped + effects


def _told_of_update(state: Device) -> list[do.Effect]:
    """Return the log line about an update that is being sent while its plan changes; none for a question."""
    if isinstance(state.work, Asking):
        return []
    text = f"round {state.seen.round}: its plan was changed: the update was made with the former plan"
    return [do.Log("info", text)]


def _attempt_of(manifest: Manifest) -> Attempt:
    return Attempt(round_of(manifest), manifest.attempt)
