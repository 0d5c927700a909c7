"""The takeover of a federation: watch until enough has been seen, then serve, or end with a reason. Pure.

`step(state, event) -> (state, effects)` runs from the first connection to the moment when serving may begin.
`aggregator.shell.leader_check` performs the effects, in production and in the simulated world alike. While it
watches, it takes no part: it subscribes, listens, and publishes nothing.

| state       | event                   | becomes     | effects                                       |
|-------------|-------------------------|-------------|-----------------------------------------------|
| away        | `LinkUp`                | subscribing | `Subscribe`                                   |
| subscribing | `Subscribed`            | watching    |                                               |
| these two   | `ServiceSeen`, it moved | the same    | `GiveWay`                                     |
| these two   | other messages          | the same    | `Log`, once, if another one says it is online |
| watching    | `Tick`, devices missing | the same    | `Log`, once, who is waited for                |
| watching    | `Tick`, silent for long | subscribing | `Subscribe`, once a connection                |
| watching    | `Tick`, enough was seen | over        | `TakeUp` or `Abort`; `Log` who is not believed |
| these three | `LinkDown`              | away        | `Log`                                         |

Everything else changes nothing. After a lost connection the watching begins anew, with all retained messages.
"""

from dataclasses import dataclass, field

from aggregator.core import claims
from aggregator.core.claims import HEARING_S, NOTHING, Assessment, Known
from aggregator.core.presence import RETAINED_S, LeaderCheck
from aggregator.core.takeover.effects import Abort, Effect, GiveWay, Log, Subscribe, TakeUp
from aggregator.core.takeover.events import (
    Event,
    LinkDown,
    LinkUp,
    ManifestSeen,
    ServiceSeen,
    StatusSeen,
    Subscribed,
    Tick,
)
from fedge.frozen import replace
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_COUNTER
from fedge.wire.topics import Topics

FRESH_S = 5.0
"""After this many more seconds of silence than necessary, the subscription is repeated."""


@dataclass(frozen=True)
class Takeover:
    """All that a takeover's decisions depend on."""

    federation: str
    broker: str
    """Its URL, for messages."""
    key: bytes | None = None
    """The public key that we sign with; None: announcements are not signed."""
    known: Known = field(default_factory=Known)
    """What the ledger knows."""
    new_generation: bool = False
    """The next generation is to begin, whatever the ledger knows."""
    watch: LeaderCheck | None = None
    """What has been seen on this connection; None: there is none."""
    subscribed_s: float | None = None
    """When retained messages began to arrive; None: they do not arrive yet."""
    first_s: float | None = None
    """When that was for the first time, on any connection."""
    hold_s: float = 0.0
    """The time until which silent devices are awaited."""
    asked: bool = False
    """Whether the subscription was repeated on this connection, after a long silence."""
    listens: bool = False
    """Whether the log says that silent devices are awaited."""
    suspects: bool = False
    """Whether the log says that another aggregator may be running."""
    over: bool = False
    """Whether enough has been seen; then nothing changes any more."""


Step = tuple[Takeover, list[Effect]]


def due_s(state: Takeover) -> float | None:
    """When a `Tick` is wanted, in monotonic seconds, even if nothing happens; None: only after an event."""
    if state.watch is None or state.subscribed_s is None or state.over:
        return None
    return max(state.watch.over_s(state.subscribed_s + RETAINED_S), state.hold_s)


def step(state: Takeover, event: Event) -> Step:
    """Handle one event: the next state, and the effects in the order to perform them."""
    if state.over:
        return state, []
    match event:
        case LinkUp(now_s):
            return replace(state, watch=LeaderCheck(now_s), subscribed_s=None, asked=False), [Subscribe()]
        case LinkDown(reason):
            return (
                replace(state, watch=None, subscribed_s=None),
                [Log("warning", f"not connected: {reason}")] if reason is not None else [],
            )
        case Tick(now_s):
            due = due_s(state)
            if due is None or now_s < due or state.watch is None:
                return state, []
            if not state.asked and now_s > state.watch.seen_s + state.watch.quiet_s + FRESH_S:
                # A dead connection is as silent as an idle one: subscribe again, so that the broker sends all
                # retained messages again.
                watch = replace(state.watch, seen_s=now_s)
                return replace(state, watch=watch, subscribed_s=None, asked=True), [Subscribe()]
            return _concluded(state, state.watch, now_s)
    if state.watch is None:  # a message from an older connection
        return state, []
    return _seen(state, state.watch, event)


def _seen(
    state: Takeover, watch: LeaderCheck, event: Subscribed | ServiceSeen | ManifestSeen | StatusSeen
) -> Step:
    """Handle an observation on the present connection."""
    match event:
        case Subscribed(now_s):
            first_s = now_s if state.first_s is None else state.first_s
            watch = watch.subscribed(now_s)
            return replace(state, watch=watch, subscribed_s=now_s, first_s=first_s), []
        case ServiceSeen(now_s, service, age_s):
            return _judged(replace(state, watch=watch.service(service, now_s, age_s)))
        case ManifestSeen(now_s, manifest):
            return replace(state, watch=watch.manifest(manifest, now_s), hold_s=0.0), []
        case StatusSeen(now_s, device, status):
            return replace(state, watch=watch.status(device, status, now_s, state.key), hold_s=0.0), []


def _judged(state: Takeover) -> Step:
    """Check whether another aggregator is running."""
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
    said = Log("info", "another aggregator says it is online; watching whether it is running")
    return replace(state, suspects=True), [said]


def _concluded(state: Takeover, watch: LeaderCheck, now_s: float) -> Step:
    """All retained messages have arrived: take over or abort, unless there are devices to wait for."""
    known = state.known
    found = claims.assess(known, watch.devices, watch.devices)
    beyond = watch.announced_beyond(known.round)
    announced, signed = watch.announced or NOTHING, state.key is not None
    hold_s = HEARING_S + (now_s if state.first_s is None else state.first_s)
    # The next generation comes after all claims that are believed; more devices may confirm a doubtful one.
    waits = known.young and bool(found.incredible) if state.new_generation else beyond is None
    if found.open and waits and now_s < hold_s:
        said = f"{found.text}; waiting up to {hold_s - now_s:.0f} s for other devices before deciding"
        told: list[Effect] = [] if state.listens else [Log("warning", said)]
        return replace(state, hold_s=hold_s, listens=True), told

    effects: list[Effect] = []
    if found.incredible:
        said = claims.incredible_text(found.incredible, known.round)
        effects.append(Log("warning", said + claims.outdated_text(found.incredible, known)))
    if state.new_generation:
        effects += _next(state, watch, found)
    elif beyond is not None:
        far = not signed and claims.is_far(announced, known.round)
        effects.append(Abort(claims.behind_text(beyond) + (f". {_forged(state, announced)}" if far else "")))
    elif found.outcome == "behind":
        effects.append(Abort(claims.behind_text(found.text)))
    elif found.outcome == "undecided":
        effects.append(Abort(claims.undecided_text(found.text), later=True))
    else:
        effects.append(TakeUp(watch, None, frozenset(found.incredible)))
    return replace(state, over=True), effects


def _forged(state: Takeover, announced: RoundId) -> str:
    return claims.forged_text(announced, Topics(state.federation).round)


def _next(state: Takeover, watch: LeaderCheck, found: Assessment) -> list[Effect]:
    """Begin the next generation, if there is a number for it."""
    announced, signed = watch.announced or NOTHING, state.key is not None
    number = claims.next_generation(state.known, watch.devices, found, announced, signed=signed)
    if number > MAX_COUNTER:
        return [
            Abort(
                f"generation {number - 1}, which is announced under our key or is in this ledger, has the "
                "highest number there can be. Begin with an empty state folder: if models are signed, after "
                "`fedge rotate-key`; otherwise after `fedge-agent forget-rounds` on each device"
            )
        ]
    effects: list[Effect] = []
    if announced.generation >= number:
        effects.append(
            Log(
                "warning",
                f"{_forged(state, announced)}. It is not believed: generation {number} is next. Devices that "
                "have followed it take part again after `fedge-agent forget-rounds` on them",
            )
        )
    return [*effects, TakeUp(watch, number, frozenset(found.incredible))]
