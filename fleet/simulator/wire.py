"""One virtual connection: packets under way in both directions, and which sides hold it open."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fedge.service.settings import BrokerSettings
from fedge.transport import Answered, LinkEvent, LinkUp, MessageArrived, Publication, Traffic
from fleet.simulator.place import Place
from fleet.simulator.sessions import Message

BROKER = BrokerSettings()
PATIENCE_S = 1.5 * BROKER.keepalive_s
"""How long a broker waits for a silent client (MQTT 5, section 3.1.2.10)."""
NOTICED_S = 2.0 * BROKER.keepalive_s
"""How long a client waits for a silent broker."""
MAX_PACKET = 2**20


@dataclass(eq=False)
class Life:
    """The time of a link between `open` and `close`."""

    closed: bool = False


class Client(Protocol):
    """What a connection needs of the link that it belongs to."""

    place: Place
    client_id: str
    inbox: Callable[[LinkEvent], None]
    keep_session_s: int
    manual_ack: bool
    traffic: Traffic

    def ended(self, wire: "Wire", reason: str, *, taken_over: bool = False) -> None:
        """A connection has ended."""


class Wire:
    """One connection: two queues of packets under way, and whether each side holds it open."""

    def __init__(self, link: Client, number: int, life: Life) -> None:
        self.number = number
        self.life = life
        self.up_s: float | None = None
        self._link, self._place = link, link.place
        self._here = True
        self._there = False
        self._mid = 0
        self._last_up_s = self._last_down_s = 0.0

    @property
    def whole(self) -> bool:
        """Whether the client knows that the connection is up, and both sides still hold it."""
        return self.up_s is not None and self._here and self._there

    # ── the client's side ──────────────────────────────────────────────────────────────────────────

    def connect(self, will: Publication | None) -> None:
        """Connect to the broker, or fail because it is down or the network is dark."""
        if self.life.closed or not self._here:  # it was reset meanwhile, and another attempt is scheduled
            return
        place, link = self._place, self._link
        if not place.broker.up or place.clock.now_s < place.weather.dark_until_s:
            self._here = False
            link.ended(self, "no broker answers")
            return
        self._there = True
        present = place.broker.connect(self, link.client_id, link.keep_session_s, will)
        self._down(lambda: self._accepted(present))
        place.broker.accepted(self)

    def _accepted(self, present: bool) -> None:
        self.up_s = self._place.clock.now_s
        self._link.inbox(LinkUp(self.number, present, MAX_PACKET))

    def publish(self, publication: Publication) -> int:
        """As `Connection.publish`."""
        self._place.power.use()
        self._link.traffic.sent += len(publication.topic) + len(publication.payload)
        self._place.said(publication)
        mid = self._next()
        self._up(lambda: self._place.broker.publish(self, mid, publication))
        return mid

    def subscribe(self, filters: tuple[str, ...]) -> int:
        """As `Connection.subscribe`."""
        self._place.power.use()
        mid = self._next()
        self._up(lambda: self._place.broker.subscribe(self, mid, list(filters)))
        return mid

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """As `Connection.unsubscribe`."""
        self._place.power.use()
        self._up(lambda: self._place.broker.unsubscribe(self, list(filters)))

    def acknowledge(self, message: MessageArrived) -> None:
        """As `Connection.acknowledge`."""
        self._place.acknowledging(message)
        self._up(lambda: self._place.broker.acknowledge(self, message.mid))

    def disconnect(self) -> None:
        """Send DISCONNECT."""
        self._up(lambda: self._place.broker.leave(self))
        self._here = False

    def die(self, noticed_s: float, lose_what_is_under_way: bool) -> None:
        """Kill the process: the broker notices after the last packets, or after `noticed_s` of silence."""
        self._here = False
        if lose_what_is_under_way:
            self._there, was_there = False, self._there
        else:
            was_there = self._there
        last_s = max(self._last_up_s, self._place.clock.now_s + noticed_s)
        if was_there:
            self._place.clock.at(last_s, self._lost_there)

    def reset(self) -> None:
        """Break the connection: packets under way are lost, and both sides are told."""
        if self._here:
            self._here = False
            self._place.clock.after(self._place.weather.delay_s, lambda: self._link.ended(self, "reset"))
        if self._there:
            self._there = False
            self._place.clock.after(self._place.weather.delay_s, self._lost_there)

    def darken(self, seconds: float) -> None:
        """Let no packet through for this time: packets wait, or both sides give the connection up."""
        clock = self._place.clock
        if seconds < PATIENCE_S:
            self._last_up_s = max(self._last_up_s, clock.now_s + seconds)
            self._last_down_s = max(self._last_down_s, clock.now_s + seconds)
        elif self._here or self._there:
            self._there = False
            clock.after(PATIENCE_S, self._lost_there)
            clock.after(NOTICED_S, self._lost_here)

    # ── the broker's side ──────────────────────────────────────────────────────────────────────────

    def deliver(self, mid: int, message: Message) -> None:
        """As `Line.deliver`."""
        left_s = message.left_s(self._place.clock.now_s)
        arrived = MessageArrived(message.topic, message.payload, message.retained, left_s, self.number, mid)
        self._down(lambda: self._arrive(arrived))

    def answer(self, mid: int, *, subscription: bool) -> None:
        """As `Line.answer`."""
        self._down(lambda: self._link.inbox(Answered(mid, None, subscription)))

    def end(self, *, taken_over: bool) -> None:
        """As `Line.end`."""
        self._down(lambda: self._lost_here(taken_over=taken_over))
        self._there = False

    # ── between them ───────────────────────────────────────────────────────────────────────────────

    def _arrive(self, message: MessageArrived) -> None:
        self._link.traffic.received += len(message.topic) + len(message.payload)
        if not self._link.manual_ack:  # paho's own thread acknowledges, whatever happens to the message
            self._place.broker.acknowledge(self, message.mid)
        self._link.inbox(message)

    def _next(self) -> int:
        self._mid += 1
        return self._mid

    def _up(self, action: Callable[[], None]) -> None:
        if self._here:
            self._last_up_s = self._when(self._last_up_s)
            self._place.clock.at(self._last_up_s, lambda: action() if self._there else None)

    def _down(self, action: Callable[[], None]) -> None:
        if self._there:
            self._last_down_s = self._when(self._last_down_s)
            self._place.clock.at(self._last_down_s, lambda: action() if self._here else None)

    def _when(self, last_s: float) -> float:
        delay_s = self._place.weather.delay_s * (0.5 + self._place.rng.random())
        return max(last_s, self._place.clock.now_s + delay_s)

    def _lost_here(self, *, taken_over: bool = False) -> None:
        if self._here:
            self._here = False
            self._link.ended(self, "lost", taken_over=taken_over)

    def _lost_there(self) -> None:
        self._there = False
        self._place.broker.lose(self)
