"""Token buckets: limits on what each device sends. Time is an argument."""

from dataclasses import dataclass
from functools import lru_cache

from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.frames import frame_bytes

MESSAGE_COST = 4_096
"""The bytes charged for each message besides its own: one page of the ledger."""
UPDATES = 4
"""How many of the largest updates a device may send at once, beside `MESSAGES` small messages."""
MESSAGES = 64
UPDATE_AGAIN_S = 900.0
"""The time until one more of the largest updates is allowed."""
TOP_UP_AGAIN_S = 300.0
"""How often an awaited device whose bucket is empty is allowed one more whole update."""


@dataclass(frozen=True)
class Rate:
    """The size of a bucket, and its rate of refilling."""

    burst: float
    per_s: float


STATUSES = Rate(burst=200, per_s=20)
"""A device's statuses."""
LINES = Rate(burst=30, per_s=1 / 60)
"""The log lines that one device causes."""


@lru_cache(maxsize=16)
def updates(largest: int, max_payload_bytes: int = MAX_PAYLOAD) -> Rate:
    """The bytes a device may send on its update topic: far more than an honest one needs.

    A device that gets an answer in a round begins anew with a full bucket (`Buckets.fill`). So this limits
    what it may send without an answer. An honest device sends an update once, and then one frame of it from
    time to time until it is answered.

    Args:
        largest: the size in bytes that no update exceeds.
        max_payload_bytes: of the federation, which says in how many messages an update comes.
    """
    whole = _whole(largest, max_payload_bytes)
    return Rate(UPDATES * whole + MESSAGES * MESSAGE_COST, MESSAGE_COST + whole / UPDATE_AGAIN_S)


def needed(largest: int, max_payload_bytes: int = MAX_PAYLOAD) -> float:
    """The bytes a device needs to answer a round: one of the largest updates, and a burst of messages."""
    return _whole(largest, max_payload_bytes) + MESSAGES * MESSAGE_COST


def _whole(largest: int, max_payload_bytes: int) -> float:
    # Also for a network that is too large for any update.
    frames = -(-largest // frame_bytes(largest, max_payload_bytes))
    return largest + frames * MESSAGE_COST


class Buckets:
    """A bucket for each name, full at first."""

    def __init__(self) -> None:
        self._missing: dict[str, tuple[float, float]] = {}
        """What each bucket lacks to be full, and at which time."""

    def __len__(self) -> int:
        return len(self._missing)

    def take(self, name: str, cost: float, rate: Rate, now_s: float) -> bool:
        """Take out `cost`, if there is enough; otherwise take nothing."""
        missing, then_s = self._missing.get(name, (0.0, now_s))
        missing = max(0.0, missing - rate.per_s * (now_s - then_s))
        if missing + cost > rate.burst:
            self._missing[name] = (missing, now_s)
            return False
        self._missing[name] = (missing + cost, now_s)
        return True

    def top_up(self, name: str, level: float, rate: Rate) -> None:
        """Fill it up to at least `level`."""
        if name in self._missing:
            missing, then_s = self._missing[name]
            self._missing[name] = (min(missing, rate.burst - level), then_s)

    def fill(self, name: str) -> None:
        """Fill it completely."""
        self._missing.pop(name, None)
