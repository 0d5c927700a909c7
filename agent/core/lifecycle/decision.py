"""Decides what an idle device does about the newest announcement."""

from agent.core import effects as do
from agent.core.conditions import PASSING
from agent.core.device import Device, Reporting
from agent.core.lifecycle.buffering import may_count
from agent.core.lifecycle.download import fetch, may_follow
from agent.core.lifecycle.outcome import Step
from agent.core.lifecycle.report import REPORT_RETRY_S, ask, undecided
from agent.core.lifecycle.statuses import decline, status
from agent.core.policy import beyond_program, can_follow, objections_to_work
from agent.core.protection import unprotected
from fedge.frozen import replace
from fedge.wire.capabilities import STATES, of_manifest, passed_over
from fedge.wire.freshness import round_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.selection import chosen


def decide(state: Device, now_s: float) -> Step:
    """Decide whether to work, report, ask, follow the model, decline, or stay idle."""
    manifest = state.manifest
    if manifest is None:
        return state, []
    announced = round_of(manifest)
    if manifest.state == "open" and (objection := next(unprotected(state.trust, manifest), None)):
        # Also an update that was made before is not sent: it may have been made for another promise.
        if not _refuses(state) and chosen(manifest.cohort, *announced, manifest.attempt, state.device):
            return decline(state, manifest, objection)
    elif manifest.state == "open":
        if _half_understood(state, manifest):
            state = replace(state, saved=None)
        if state.saved is not None and state.saved.verdict is None and may_count(state.saved.round, manifest):
            work = Reporting((0,), now_s + REPORT_RETRY_S)
            return replace(state, work=work), [do.PublishUpdate(state.saved.digest, None)]
        if state.saved is not None and state.saved.round == announced:
            if state.saved.verdict is not None:
                return _say_again(state, manifest, now_s)
            work = Reporting((0,), now_s + REPORT_RETRY_S)
            return replace(state, work=work), [do.PublishUpdate(state.saved.digest, None)]
        in_time = now_s < state.closes_s and not _refuses(state)
        if in_time and chosen(manifest.cohort, *announced, manifest.attempt, state.device):
            objection = next(objections_to_work(state, manifest), None)
            return _take_up(state, now_s) if objection is None else decline(state, manifest, objection)
    elif manifest.state not in STATES and not _refuses(state):
        # A newer program asks for something that this one does not know. A device that is chosen declines.
        objection = next(beyond_program(state, manifest), None)
        if objection is not None and chosen(manifest.cohort, *announced, manifest.attempt, state.device):
            return decline(state, manifest, objection)
    may_fetch = may_follow(state) and can_follow(state)
    if may_fetch and (manifest.state == "done" or now_s >= state.followed_s + state.follow_s):
        return fetch(state, now_s, to_work=False)
    return state, []


def _half_understood(state: Device, manifest: Manifest) -> bool:
    """Whether an older program, before an upgrade, may have ignored a part of the plan of the saved update.

    This is not so for an update with a state, or with which own models were made: programs with these read
    all of a plan, and decline a plan that they do not know.
    """
    saved = state.saved
    if saved is None or saved.ours or saved.verdict == "admitted" or saved.pending or saved.own_models:
        return False
    return bool(passed_over(of_manifest(manifest)))


def _refuses(state: Device) -> bool:
    """Whether this device has declined this attempt for a reason that does not pass by itself."""
    return state.declined is not None and state.declined.reason not in PASSING


def _take_up(state: Device, now_s: float) -> Step:
    if state.manifest is not None and undecided(state, state.manifest):
        return ask(state, now_s)
    if state.declined is None:
        return fetch(state, now_s, to_work=True)
    text = f"round {state.seen.round}: accepted, the reason to decline ({state.declined.reason}) has passed"
    state = replace(state, declined=None)
    told: list[do.Effect] = [do.Log("info", text), do.PublishStatus(status(state))]
    state, effects = fetch(state, now_s, to_work=True)
    return state, told + effects


def _say_again(state: Device, manifest: Manifest, now_s: float) -> Step:
    """In a new attempt of a round that admitted this device's update, check that the aggregator still has it.

    One frame is sent. The aggregator repeats its verdict. If it was restored from a backup of this round, it
    asks for the other frames, instead of waiting without end.
    """
    assert state.saved is not None
    if manifest.attempt == 0 or state.saved.verdict != "admitted":
        return state, []
    work = Reporting((0,), now_s + REPORT_RETRY_S)
    return replace(state, work=work), [do.PublishUpdate(state.saved.digest, (0,))]
