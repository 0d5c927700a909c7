"""What of the messages that devices send is worked on now, what later, and what is dropped as if lost.

Nobody honest loses anything by that: a status that comes too soon after others is looked at with the beat,
the newest one of each device; an update is sent again until its receipt comes.
"""

from math import inf

from aggregator.core.buckets import MESSAGE_COST, STATUSES, TOP_UP_AGAIN_S, Buckets, needed, updates
from aggregator.core.federation import Federation
from fedge.transport import MessageArrived

UNKNOWN = ""
"""Whoever has never told a status, and is not on the roster, shares the allowance of this name."""
NOBODY = "(unknown)"
"""Under this name it is counted what they sent in vain: names can be made up without end."""


def allowance_of(state: Federation, device: str) -> str:
    """Whose allowance a device uses: its own, if it is known."""
    known = device in state.fleet or device in state.voters
    return device if known or (state.roster is not None and device in state.roster) else UNKNOWN


def counted_as(state: Federation, device: str) -> str:
    """Under which name it is counted what a device sent in vain."""
    return allowance_of(state, device) or NOBODY


class Intake:
    """Holds at most one status, two buckets and one time for each device."""

    def __init__(self) -> None:
        self._updates, self._statuses = Buckets(), Buckets()
        self._topped_up_s: dict[str, float] = {}
        """When a device was last allowed one whole update more."""
        self._waiting: dict[str, MessageArrived] = {}

    def takes_update(self, state: Federation, device: str, size: int, now_s: float) -> bool:
        """Whether a message of `size` bytes on a device's update topic is worked on."""
        name, rate = allowance_of(state, device), updates(state.largest_update)
        if self._updates.take(name, size + MESSAGE_COST, rate, now_s):
            return True
        # Who is late in round after round has sent all of it in vain, though it is honest. Where a round
        # waits for it, it must be able to answer. How often is bounded: who declines in time misses nothing.
        if device not in state.awaited or now_s < self._topped_up_s.get(name, -inf) + TOP_UP_AGAIN_S:
            return False
        self._topped_up_s[name] = now_s
        self._updates.top_up(name, needed(state.largest_update), rate)
        return self._updates.take(name, size + MESSAGE_COST, rate, now_s)

    def answered(self, state: Federation, device: str) -> None:
        """It got its answer in a round: what it sent until then was not in vain."""
        self._updates.fill(allowance_of(state, device))

    def takes_status(self, device: str, message: MessageArrived, now_s: float) -> bool:
        """Whether a status is worked on now; else it waits, in the place of an older one that waits."""
        if device not in self._waiting and self._statuses.take(device, 1, STATUSES, now_s):
            return True
        self._waiting[device] = message
        return False

    def waiting(self) -> list[MessageArrived]:
        """The statuses that wait, one of a device, which are to be worked on now."""
        waiting, self._waiting = list(self._waiting.values()), {}
        return waiting
