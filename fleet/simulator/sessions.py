"""What a virtual MQTT 5 broker holds: messages, sessions, and what its disk keeps of them."""

import math
from collections import deque
from copy import copy
from dataclasses import dataclass, field
from typing import Protocol

from fedge.transport import Publication


@dataclass(frozen=True)
class Message:
    """A publication at the broker; `expires_s` is the time at which its MessageExpiry runs out."""

    topic: str
    payload: bytes
    retained: bool
    expires_s: float

    def left_s(self, now_s: float) -> int | None:
        """The MessageExpiry to send: it counts down while the broker holds the message."""
        return None if math.isinf(self.expires_s) else max(0, math.floor(self.expires_s - now_s))


class Line(Protocol):
    """A client's connection as the broker sees it."""

    @property
    def whole(self) -> bool:
        """Whether the client still holds it too; only the oracle asks, because a broker cannot know it."""

    def deliver(self, mid: int, message: Message) -> None:
        """Send a message to the client."""

    def answer(self, mid: int, *, subscription: bool) -> None:
        """Acknowledge a publish or a subscribe."""

    def end(self, *, taken_over: bool) -> None:
        """Close it from the broker's side."""


@dataclass
class Session:
    """The broker's state for one client id."""

    client: str
    keep_s: int
    filters: dict[str, None] = field(default_factory=dict)
    hears: dict[str, bool] = field(default_factory=dict)
    """Whether a filter matches, by topic; shared by all sessions with the same filters."""
    waiting: deque[Message] = field(default_factory=deque)
    under_way: dict[int, Message] = field(default_factory=dict)
    """Messages that were sent on this connection or the one before, and are not acknowledged."""
    mid: int = 0
    line: Line | None = None
    will: Publication | None = None
    ends_s: float = math.inf
    """When the broker forgets the session, while no client is connected."""

    def saved(self) -> "Session":
        """The part of the session that is on the broker's disk."""
        kept = copy(self)
        kept.filters, kept.hears, kept.waiting = dict(self.filters), {}, deque(self.waiting)
        kept.under_way, kept.line, kept.will = dict(self.under_way), None, None
        return kept


@dataclass
class BrokerDisk:
    """What survives the broker's process."""

    retained: dict[str, Message]
    sessions: dict[str, Session]
