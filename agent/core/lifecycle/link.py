"""Handles the connection: up or down, and other devices with this device's identity."""

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Device, Fetching, Idle, Reporting, Working
from agent.core.lifecycle.download import fetch
from agent.core.lifecycle.outcome import Step, fraction
from agent.core.lifecycle.report import REPORT_RETRY_S, publish_again
from agent.core.lifecycle.statuses import status
from fedge.frozen import replace

CLONE_PAUSE_S = 60.0
UNSAVED_PAUSE_S = 30.0


def take_link_up(state: Device, event: on.LinkUp) -> Step:
    """Begin a connection: subscribe, publish the status, and request again what the work waits for."""
    returned = state.connection > 0
    state = replace(state, link_up=True, connection=event.connection, returned=returned)
    effects: list[do.Effect] = [do.Subscribe(), do.PublishStatus(status(state))]
    match state.work:
        case Fetching():
            state, more = fetch(state, event.now_s, to_work=state.work.to_work)
            effects += more
        case Reporting() if state.saved:
            # One frame tells the aggregator which update this device holds. The receipt says what is missing.
            effects.append(publish_again(state, (0,)))
            state = replace(state, work=replace(state.work, due_s=event.now_s + REPORT_RETRY_S))
    return state, effects


def take_status(state: Device, event: on.StatusSeen) -> Step:
    """Handle a status on this device's topic: from an earlier boot, a late will, or a clone."""
    seen = event.status
    if not state.link_up:
        return state, []
    if event.live and not seen.online:
        # A late will, perhaps of a boot that this state folder does not know because it was wiped or is an
        # older copy. Its sender is gone and this device is online, so the retained status must say so.
        return state, [do.PublishStatus(status(state))]
    if seen.boot == state.boot or seen.boot in state.own_boots:
        if event.live and seen.boot != state.boot:  # a late message of an older boot
            return state, [do.PublishStatus(status(state))]
        return state, []
    # An unknown boot id may be retained from before this state folder, unless it was published after ours.
    if not (state.returned or event.live):
        return state, []
    pause_s = CLONE_PAUSE_S * (1 + fraction(state.boot, state.connection))
    text = (
        f"another device uses the identity {state.device!r}, perhaps from a copy of this SD card; "
        f"give one of them an identity of its own; disconnecting for {pause_s:.0f} s"
    )
    return replace(state, link_up=False), [do.Log("error", text), do.Disconnect(pause_s)]


def take_unsaved_signers(state: Device) -> Step:
    """Disconnect for a while. The broker repeats the announcement at the next connection."""
    effects: list[do.Effect] = [do.Disconnect(UNSAVED_PAUSE_S, farewell=state.link_up)]
    match state.work:
        case Working(round=unwanted):
            effects.append(do.CancelWork(unwanted))
            state = replace(state, work=Idle())
        case Reporting():
            state = replace(state, work=Idle())
    return replace(state, link_up=False), effects
