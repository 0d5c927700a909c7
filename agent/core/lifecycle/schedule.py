"""Decides what a device does when time passes, and when the next `Tick` is due."""

from math import inf

from agent.core.device import Device, Fetching, Idle, Reporting
from agent.core.lifecycle.conditions import waits, with_readings
from agent.core.lifecycle.download import fetch, follow_due_s, may_follow
from agent.core.lifecycle.gate import judge, may_judge
from agent.core.lifecycle.outcome import Step, fraction
from agent.core.lifecycle.report import LONGEST_REPORT_RETRY_S, REPORT_RETRY_S, publish_again
from agent.core.policy import can_follow
from fedge.frozen import replace


def due_s(state: Device) -> float | None:
    """Return when the next `Tick` is due, in monotonic seconds; None: only after another event."""
    if may_judge(state):
        return -inf
    if not state.link_up:
        return None
    match state.work:
        case Fetching(due_s=due) | Reporting(due_s=due):
            return due
        case Idle():
            due = state.measure_s if waits(state) else inf
            if may_follow(state):
                due = min(due, follow_due_s(state))
            return None if due == inf else due
        case _:
            return None


def take_tick(state: Device, now_s: float) -> Step:
    """Handle a tick: measure a model for the gate, and do what is due."""
    state, judging = judge(state)
    state, effects = _due(state, now_s)
    return state, judging + effects


def _due(state: Device, now_s: float) -> Step:
    due = due_s(state)
    if due is None or now_s < due:
        return state, []
    match state.work:
        case Fetching(to_work=to_work, tries=tries):
            return fetch(state, now_s, to_work=to_work, tries=min(tries + 1, 20))
        case Reporting(frames=frames, tries=tries) as work if state.saved:
            pause_s = min(LONGEST_REPORT_RETRY_S, REPORT_RETRY_S * 2**tries)
            jitter = 0.5 + fraction(state.saved.digest, tries)
            again = replace(work, frames=(0,), due_s=now_s + pause_s * jitter, tries=min(tries + 1, 20))
            return replace(state, work=again), [publish_again(state, frames)]
        case Idle() if may_follow(state) and now_s >= follow_due_s(state):
            if can_follow(state):
                return fetch(state, now_s, to_work=False)
            return with_readings(state, now_s, state.readings), []
        case Idle():
            return with_readings(state, now_s, state.readings), []
        case _:
            return state, []
