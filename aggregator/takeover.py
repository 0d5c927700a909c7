"""How a federation is taken over: look on until enough has been seen, then serve it or give way. Pure.

`step(state, event) -> (state, effects)` runs from the first connection to the moment when serving may begin;
`aggregator.watching` performs the effects, for production and for the simulated world alike. Who looks on
takes no part: it subscribes, listens, and publishes nothing.

| state       | event                   | becomes     | effects                                       |
|-------------|-------------------------|-------------|-----------------------------------------------|
| away        | `LinkUp`                | subscribing | `Subscribe`                                   |
| subscribing | `Subscribed`            | watching    |                                               |
| these two   | `ServiceSeen`, it moved | the same    | `GiveWay`                                     |
| these two   | other messages          | the same    | `Say`, once, if another one says it is online |
| watching    | `Tick`, enough was seen | over        | `TakeUp`                                      |
| these three | `LinkDown`              | away        | `Say`                                         |

Everything else changes nothing. A lost connection begins the watching anew: what is retained comes again.
"""

from dataclasses import dataclass, replace

from aggregator.presence import Watch
from fedge.messages import Manifest, Service, Status

# ── what happens ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class LinkUp:
    """The broker accepted us."""

    now_s: float


@dataclass(frozen=True)
class LinkDown:
    """The connection is gone, or could not be made."""

    reason: str


@dataclass(frozen=True)
class Subscribed:
    """The broker answered the subscription: what is retained comes from now on."""

    now_s: float


@dataclass(frozen=True)
class ServiceSeen:
    """The `service` topic spoke; `age_s`: how long the message has lain at the broker."""

    now_s: float
    service: Service
    age_s: float = 0.0


@dataclass(frozen=True)
class ManifestSeen:
    """The `round` topic spoke; where announcements are signed, it was one of ours."""

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

# ── what is done about it ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Subscribe:
    """Subscribe to the service, the announcement and the statuses of the federation."""


@dataclass(frozen=True)
class GiveWay:
    """End: another aggregator serves this federation."""

    text: str


@dataclass(frozen=True)
class TakeUp:
    """Enough has been seen: serve, if the ledger fits what was seen."""

    watch: Watch


@dataclass(frozen=True)
class Say:
    """Tell the operator, in one line."""

    level: str
    text: str


Effect = Subscribe | GiveWay | TakeUp | Say

# ── the machine ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Takeover:
    """All that a takeover's decisions depend on."""

    federation: str
    broker: str
    """Its URL, for messages."""
    key: bytes | None = None
    """The public key that we sign with; None: announcements are not signed."""
    watch: Watch | None = None
    """What has been seen on this connection; None: there is none."""
    subscribed_s: float | None = None
    """Since when what is retained has been coming."""
    suspects: bool = False
    """It was said that another aggregator says it is online."""
    over: bool = False
    """Enough has been seen."""


Step = tuple[Takeover, list[Effect]]


def due_s(state: Takeover) -> float | None:
    """When a `Tick` is wanted, even if nothing happens; None: only what happens counts."""
    if state.watch is None or state.subscribed_s is None or state.over:
        return None
    return state.watch.over_s()


def step(state: Takeover, event: Event) -> Step:
    """What an event changes, and what is to be done about it."""
    if state.over:
        return state, []
    match event:
        case LinkUp(now_s):
            return replace(state, watch=Watch(now_s), subscribed_s=None), [Subscribe()]
        case LinkDown(reason):
            return (
                replace(state, watch=None, subscribed_s=None),
                [Say("warning", f"not connected: {reason}")],
            )
        case Tick(now_s):
            due = due_s(state)
            if due is None or now_s < due or state.watch is None:
                return state, []
            return replace(state, over=True), [TakeUp(state.watch)]
    if state.watch is None:  # a message of a connection that is gone
        return state, []
    return _seen(state, state.watch, event)


def _seen(state: Takeover, watch: Watch, event: Subscribed | ServiceSeen | ManifestSeen | StatusSeen) -> Step:
    """Something was seen on the connection there is."""
    match event:
        case Subscribed(now_s):
            return replace(state, watch=replace(watch, seen_s=now_s), subscribed_s=now_s), []
        case ServiceSeen(now_s, service, age_s):
            return _judged(replace(state, watch=watch.service(service, now_s, age_s)))
        case ManifestSeen(now_s, manifest):
            return replace(state, watch=watch.manifest(manifest, now_s)), []
        case StatusSeen(now_s, device, status):
            return replace(state, watch=watch.status(device, status, now_s, state.key)), []


def _judged(state: Takeover) -> Step:
    """Is another aggregator alive?"""
    other = state.watch.other if state.watch is not None else None
    if state.watch is None or other is None:
        return state, []
    if state.watch.moved:
        return state, [
            GiveWay(
                f"another aggregator serves federation {state.federation!r} at {state.broker} "
                f"(instance {other.instance.hex()[:8]}): giving way to it"
            )
        ]
    if state.suspects:
        return state, []
    said = Say("info", "another aggregator says it is online; watching whether it is alive")
    return replace(state, suspects=True), [said]
