"""Decide which messages of devices are processed now, which later, and which are dropped.

An honest device loses nothing. If its statuses come too fast, the newest one is processed with the next beat.
An update that was dropped is sent again until its receipt arrives.
"""

from math import inf

from aggregator.core.buckets import MESSAGE_COST, STATUSES, TOP_UP_AGAIN_S, Buckets, needed, updates
from aggregator.core.federation import Federation
from aggregator.core.update_limits import max_bytes
from fedge.transport import MessageArrived

UNKNOWN = ""
"""All devices that have never sent a status and are not on the roster share the allowance of this name."""
NOBODY = "(unknown)"
"""Their refused messages are counted under this name, because names can be made up without end."""


def allowance_of(state: Federation, device: str) -> str:
    """The name whose allowance a device uses: its own if it is known."""
    known = device in state.fleet or device in state.voters
    return device if known or (state.roster is not None and device in state.roster) else UNKNOWN


def counted_as(state: Federation, device: str) -> str:
    """The name under which a device's refused messages are counted."""
    return allowance_of(state, device) or NOBODY


class Intake:
    """Limits each device; it holds at most one status, two buckets and one time per device."""

    def __init__(self) -> None:
        self._updates, self._statuses = Buckets(), Buckets()
        self._topped_up_s: dict[str, float] = {}
        """When each device was last given one whole update more."""
        self._waiting: dict[str, MessageArrived] = {}

    def takes_update(self, state: Federation, device: str, size: int, now_s: float) -> bool:
        """Whether a message of `size` bytes on a device's update topic is processed."""
        name, rate = allowance_of(state, device), updates(max_bytes(state), state.max_payload_bytes)
        if self._updates.take(name, size + MESSAGE_COST, rate, now_s):
            return True
        # An honest device that is late in every round uses up its allowance. A round that waits for it must
        # let it answer, so it gets one whole update more, at most once in `TOP_UP_AGAIN_S`.
        if device not in state.awaited or now_s < self._topped_up_s.get(name, -inf) + TOP_UP_AGAIN_S:
            return False
        self._topped_up_s[name] = now_s
        self._updates.top_up(name, needed(max_bytes(state), state.max_payload_bytes), rate)
        return self._updates.take(name, size + MESSAGE_COST, rate, now_s)

    def answered(self, state: Federation, device: str) -> None:
        """Refill a device's allowance, because it got its verdict in a round."""
        self._updates.fill(allowance_of(state, device))

    def takes_status(self, device: str, message: MessageArrived, now_s: float) -> bool:
        """Whether a status is processed now; else it waits, and replaces an older one that waits."""
        if device not in self._waiting and self._statuses.take(device, 1, STATUSES, now_s):
            return True
        self._waiting[device] = message
        return False

    def waiting(self) -> list[MessageArrived]:
        """Take the waiting statuses, at most one per device."""
        waiting, self._waiting = list(self._waiting.values()), {}
        return waiting
