"""What a virtual MQTT 5 broker holds: messages, sessions, and what its disk keeps of them."""

import math
from collections import deque
from copy import copy
from dataclasses import dataclass, field
from typing import Protocol

from fedge.transport import Publication


@dataclass(frozen=True)
class Message:
    """A publication at the broker; `expires_s`: when its MessageExpiry has run out."""

    topic: str
    payload: bytes
    retained: bool
    expires_s: float

    def left_s(self, now_s: float) -> int | None:
        """What is told of its expiry: it counts down while the message lies here."""
        return None if math.isinf(self.expires_s) else max(0, math.floor(self.expires_s - now_s))


class Line(Protocol):
    """A client's connection as the broker sees it."""

    @property
    def whole(self) -> bool:
        """Whether the client still holds it too; no broker knows that, those who watch the world do."""

    def deliver(self, mid: int, message: Message) -> None:
        """Send a message down."""

    def answer(self, mid: int, *, subscription: bool) -> None:
        """Acknowledge a publish or a subscribe."""

    def end(self, *, taken_over: bool) -> None:
        """Close it from the broker's side."""


@dataclass
class Session:
    """What a broker holds for one client id."""

    client: str
    keep_s: int
    filters: dict[str, None] = field(default_factory=dict)
    hears: dict[str, bool] = field(default_factory=dict)
    """Whether a filter matches, by topic; shared by all sessions with the same filters."""
    waiting: deque[Message] = field(default_factory=deque)
    under_way: dict[int, Message] = field(default_factory=dict)
    """Sent on this connection, or on the one before, and not acknowledged."""
    mid: int = 0
    line: Line | None = None
    will: Publication | None = None
    ends_s: float = math.inf
    """When it is forgotten, while nobody is connected."""

    def saved(self) -> "Session":
        """What the broker's disk has of it."""
        kept = copy(self)
        kept.filters, kept.hears, kept.waiting = dict(self.filters), {}, deque(self.waiting)
        kept.under_way, kept.line, kept.will = dict(self.under_way), None, None
        return kept


@dataclass
class BrokerDisk:
    """What survives the broker's process."""

    retained: dict[str, Message]
    sessions: dict[str, Session]
