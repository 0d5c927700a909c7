"""Deliberate mistakes in secure aggregation: what a wrong core makes of an event or of a restart."""

from dataclasses import replace

from fedge.masking import device
from fedge.masking.device_state import (
    Device,
    Effect,
    Event,
    Identity,
    Mark,
    RaiseMark,
    SaveState,
    Send,
    UpdateReady,
)
from fedge.masking.keys import ring_for
from fedge.masking.messages import MaskedInput, Unmask
from fedge.masking.sharing import SHARE_BYTES

Step = tuple[Device, list[Effect]]


def reuse_after_restore(kept: Device | None, mark: Mark, name: str) -> Step:
    """A restarted device takes any older state for its own, whatever its mark says."""
    return device.resumed(kept, kept.mark if kept is not None else mark, name=name)


def _resent(state: Device, effects: list[Effect], message: MaskedInput | Unmask) -> Step:
    """The same effects with another message."""
    assert state.attempt is not None
    state = replace(state, attempt=replace(state.attempt, sent=message))
    changed: dict[type, Effect] = {SaveState: SaveState(state), Send: Send(message)}
    return state, [changed.get(type(effect), effect) for effect in effects]


def key_of_the_living(before: Device, event: Event, identity: Identity) -> Step:
    """A device reveals for each neighbour the share of the masking key."""
    state, effects = device.step(before, event, identity)
    held = before.attempt.held if before.attempt is not None else {}
    for effect in effects:
        if isinstance(effect, Send) and isinstance(effect.message, Unmask) and held:
            shares = b"".join(held[each][SHARE_BYTES:] for each in sorted(held))
            return _resent(state, effects, effect.message.model_copy(update={"shares": shares}))
    return state, effects


def no_mask(before: Device, event: Event, identity: Identity) -> Step:
    """A device sends its update without a mask."""
    state, effects = device.step(before, event, identity)
    for effect in effects:
        if (
            isinstance(effect, Send)
            and isinstance(effect.message, MaskedInput)
            and isinstance(event, UpdateReady)
        ):
            assert state.attempt is not None
            ring = ring_for(state.attempt.terms)
            values = ring.packed(ring.elements(event.levels))
            return _resent(state, effects, effect.message.model_copy(update={"values": values}))
    return state, effects


def sent_before_saved(before: Device, event: Event, identity: Identity) -> Step:
    """A device sends a message before it has saved what it allows."""
    state, effects = device.step(before, event, identity)
    return state, sorted(effects, key=lambda effect: isinstance(effect, SaveState | RaiseMark))


def another_update(before: Device, event: Event, identity: Identity) -> Step:
    """A device masks zeros instead of its update."""
    if isinstance(event, UpdateReady):
        event = UpdateReady(event.levels * 0)
    return device.step(before, event, identity)


def never_again(kept: Device | None, mark: Mark, name: str) -> Step:
    """A restarted device takes part in no later attempt."""
    return Device(name, mark=Mark(99)), []
