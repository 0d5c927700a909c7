"""Follows the owner's conditions over time: decides again about waiting work, and when to disconnect."""

from agent.core import effects as do
from agent.core import events as on
from agent.core.conditions import PASSING, Readings
from agent.core.device import Device, Idle
from agent.core.lifecycle.decision import decide
from agent.core.lifecycle.outcome import Step
from agent.core.policy import used_up
from fedge.frozen import replace

MEASURE_AGAIN_S = 30.0
"""Seconds between two measurements while only conditions keep the device from its work."""


def with_readings(state: Device, now_s: float, readings: Readings) -> Device:
    """Return the state with new readings. The next ones are due in `MEASURE_AGAIN_S`."""
    return replace(state, readings=readings, measure_s=now_s + MEASURE_AGAIN_S)


def waits(state: Device) -> bool:
    """Whether a round is open that this device declined only because of conditions that may change."""
    return (
        isinstance(state.work, Idle)
        and state.link_up
        and state.declined is not None
        and state.declined.reason in PASSING
        and state.manifest is not None
        and state.manifest.state == "open"
        and state.measure_s < state.closes_s
    )


def take_readings(state: Device, event: on.ConditionsChanged) -> Step:
    """Decide again on waiting work, or disconnect because the day's bytes are used up."""
    state = with_readings(state, event.now_s, event.readings)
    if used_up(state):
        return _leave(state)
    return decide(state, event.now_s) if waits(state) else (state, [])


def _leave(state: Device) -> Step:
    """Disconnect: today's bytes are used up, and every message received would use more."""
    effects: list[do.Effect] = [do.Disconnect(MEASURE_AGAIN_S, farewell=state.link_up)]
    if state.link_up:
        limit, spent = state.limits.bytes_per_day, state.readings.spent
        text = f"{spent} bytes were moved today, [limits] bytes_per_day is {limit}: leaving until tomorrow"
        effects.insert(0, do.Log("warning", text))
    return replace(state, link_up=False), effects
