"""Which devices the open round asks, and which of them it waits for. Pure.

The state holds both sets. When a device comes, goes, answers or declines, only it is judged again
(`noted`); when an attempt begins or the quarantine changes, all are (`counted_anew`). So the time for an
event of one device does not grow with the fleet.
"""

from typing import NamedTuple

from aggregator.core.ability import may_count
from aggregator.core.bad_models import FAILURES
from aggregator.core.federation import Federation
from aggregator.core.patience import is_given_up
from aggregator.core.per_device import Devices
from fedge.frozen import replace
from fedge.wire.freshness import round_of
from fedge.wire.messages.status import Decline
from fedge.wire.selection import chosen


class Standing(NamedTuple):
    """What a device is in the open attempt; each field is a set in the state."""

    awaited: bool = False
    """The round waits for it."""
    asked: bool = False
    """It is online or has answered, is chosen, may count, and is not given up unless it fails."""
    failing: bool = False
    """It is asked, and declines because it cannot train from the model."""


def standing(state: Federation, device: str) -> Standing:
    """Decide what a device is in the open attempt; all exclusions are here."""
    online, answered = device in state.online, device in state.answers
    if not (online or answered) or not may_count(state, device) or not state.cohorts:
        return Standing()
    if not chosen(state.cohorts[-1], *state.round, state.attempt, device):
        return Standing()
    no, trusted = declined(state, device), not is_given_up(state, device)
    failing = not answered and no is not None and no.reason in FAILURES
    return Standing(online and not answered and no is None and trusted, failing or trusted, failing)


def declined(state: Federation, device: str) -> Decline | None:
    """The decline of a device in the open attempt; None: it has none."""
    said = state.declined.get(device)
    if said is None or (round_of(said), said.attempt) != (state.round, state.attempt):
        return None
    return said


def noted(state: Federation, device: str) -> Federation:
    """Update the sets after a change of one device."""
    now = standing(state, device)
    if now == (device in state.awaited, device in state.asked, device in state.failing):
        return state
    return replace(
        state,
        awaited=state.awaited.having(device, member=now.awaited),
        asked=state.asked.having(device, member=now.asked),
        failing=state.failing.having(device, member=now.failing),
    )


def admitted(state: Federation, device: str) -> Federation:
    """Update the sets after an update of a device was admitted.

    As `noted`, with less work for a device that is asked and does not fail, as nearly every one is: all that
    changes is that it is no longer awaited.
    """
    if device in state.asked and device not in state.failing:
        return replace(state, awaited=state.awaited.drop(device)) if device in state.awaited else state
    return noted(state, device)


def counted_anew(state: Federation) -> Federation:
    """Update the sets after a change that may concern all devices."""
    now = {device: standing(state, device) for device in {*state.online, *state.answers}}
    return replace(
        state,
        awaited=Devices(device for device, each in now.items() if each.awaited),
        asked=Devices(device for device, each in now.items() if each.asked),
        failing=Devices(device for device, each in now.items() if each.failing),
    )
