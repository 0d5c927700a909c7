"""What happens while a takeover watches."""

from dataclasses import dataclass

from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.service import Service
from fedge.wire.messages.status import Status


@dataclass(frozen=True)
class LinkUp:
    """The connection to the broker was made."""

    now_s: float


@dataclass(frozen=True)
class LinkDown:
    """The connection to the broker was lost, or could not be made."""

    reason: str | None
    """The reason to log; None: it was logged recently."""


@dataclass(frozen=True)
class Subscribed:
    """The broker answered the subscription: retained messages arrive from now on."""

    now_s: float


@dataclass(frozen=True)
class ServiceSeen:
    """A `service` message arrived; `age_s`: how long it was stored at the broker."""

    now_s: float
    service: Service
    age_s: float = 0.0


@dataclass(frozen=True)
class ManifestSeen:
    """A `round` message arrived; if announcements are signed, with our signature."""

    now_s: float
    manifest: Manifest


@dataclass(frozen=True)
class StatusSeen:
    """A device's status."""

    now_s: float
    device: str
    status: Status


@dataclass(frozen=True)
class Tick:
    """Time passed."""

    now_s: float


Event = LinkUp | LinkDown | Subscribed | ServiceSeen | ManifestSeen | StatusSeen | Tick
