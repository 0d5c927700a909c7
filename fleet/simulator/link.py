"""`Transport` on a virtual network: its window, accounts and back-off are production's own."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fedge.service.liveness import Pulse
from fedge.service.settings import BrokerSettings
from fedge.transport import Answered, LinkDown, LinkEvent, LinkUp, MessageArrived, Publication, Traffic
from fedge.transport.backoff import Backoff
from fedge.transport.outbound import Outbound
from fleet.simulator.broker import Broker, Message
from fleet.simulator.clock import Clock
from fleet.simulator.crash import Power

BROKER = BrokerSettings()
PATIENCE_S = 1.5 * BROKER.keepalive_s
"""So long a broker waits for a silent client (MQTT 5, section 3.1.2.10)."""
NOTICED_S = 2.0 * BROKER.keepalive_s
"""So long a client waits for a silent broker."""
MAX_PACKET = 2**20
SLOW_S = 2.0
"""A packet's way on a slow network."""


@dataclass
class Weather:
    """What a host's packets go through."""

    usual_s: float = 0.01
    """A packet's way, when nothing slows it down."""
    slowed: int = 0
    """So many things slow it down."""
    dark_until_s: float = 0.0
    """Until then packets go nowhere and nobody is told."""

    @property
    def delay_s(self) -> float:
        """How long a packet takes now."""
        return SLOW_S if self.slowed else self.usual_s


@dataclass(frozen=True)
class Place:
    """Where a link is: what it shares with its host and the world."""

    clock: Clock
    broker: Broker
    weather: Weather
    power: Power
    rng: random.Random
    said: Callable[[Publication], None]
    """Told each publication as it leaves the host."""
    handed: Callable[[Publication], None]
    """Told each reply when it is handed to the link, whose window may be full."""
    acknowledging: Callable[[MessageArrived], None]
    """Told each acknowledgement as it leaves the host."""


@dataclass(eq=False)
class Life:
    """From `open` to `close`."""

    closed: bool = False


class VirtualLink:
    """A `Transport` whose connections are `Wire`s; the arguments are those of `MqttTransport`."""

    def __init__(
        self,
        place: Place,
        client_id: str,
        inbox: Callable[[LinkEvent], None],
        will: Callable[[int], Publication] | None = None,
        keep_session_s: int = 0,
        *,
        manual_ack: bool = False,
    ) -> None:
        self.place = place
        self.client_id = client_id
        self.inbox = inbox
        self.will = will
        self.keep_session_s = keep_session_s
        self.manual_ack = manual_ack
        self.spread_s = 0.0
        self.traffic = Traffic()
        self.pulse = Pulse("no thread", lambda: place.clock.now_s)
        self.wire: Wire | None = None
        """The newest connection."""
        self._life = Life(closed=True)
        self._connections = 0
        self._backoff = Backoff()
        self._outbound = Outbound(inbox)

    @property
    def up(self) -> bool:
        """As `Transport.up`."""
        return self._outbound.connection is not None

    def open(self) -> None:
        """As `Transport.open`."""
        life = self._life = Life()
        self.place.clock.after(0.0, lambda: self._attempt(life))

    def close(self, offline_status: Publication | None = None, *, timeout_s: float = 1.0) -> None:
        """As `Transport.close`."""
        if offline_status is not None and self._outbound.connection is not None:
            self._outbound.connection.publish(offline_status)
        self._life.closed = True
        self._outbound.end()
        if self.wire is not None:
            self.wire.disconnect()

    def handle(self, event: LinkEvent) -> None:
        """As `Transport.handle`."""
        match event:
            case LinkUp():
                here = (
                    self.wire is not None and self.wire.number == event.connection and not self._life.closed
                )
                self._outbound.begin(self.wire if here else None, event.max_packet)
            case LinkDown():
                self._outbound.end()
            case Answered():
                self._outbound.settle(event)
            case _:
                pass

    def send(self, publications: Iterable[Publication], token: object = None) -> None:
        """As `Transport.send`."""
        self._outbound.send(publications, token)

    def reply(self, publication: Publication) -> None:
        """As `Transport.reply`."""
        self.place.handed(publication)
        self._outbound.reply(publication)

    def subscribe(self, *filters: str) -> None:
        """As `Transport.subscribe`."""
        self._outbound.subscribe(*filters)

    def unsubscribe(self, *filters: str) -> None:
        """As `Transport.unsubscribe`."""
        self._outbound.unsubscribe(*filters)

    def acknowledge(self, message: MessageArrived) -> None:
        """As `Transport.acknowledge`."""
        self.place.power.use()
        self._outbound.acknowledge(message)

    def kill(self, *, noticed_s: float, lose_what_is_under_way: bool) -> None:
        """The host is dead: the broker learns of it after a while."""
        self._life.closed = True
        if self.wire is not None:
            self.wire.die(noticed_s, lose_what_is_under_way)

    def ended(self, wire: "Wire", reason: str, *, taken_over: bool = False) -> None:
        """A connection has ended; another one is tried soon."""
        if wire.life.closed:
            return
        self.inbox(LinkDown(reason, taken_over))
        lasted_s = None if wire.up_s is None else self.place.clock.now_s - wire.up_s
        wait_s = self._backoff.pause_s(lasted_s, self.spread_s, self.place.rng.random())
        self.place.clock.after(wait_s, lambda: self._attempt(wire.life))

    def _attempt(self, life: Life) -> None:
        if life.closed:
            return
        self._connections += 1
        wire = self.wire = Wire(self, self._connections, life)
        will = self.will(wire.number) if self.will is not None else None
        self.place.clock.after(2 * self.place.weather.delay_s, lambda: wire.connect(will))


class Wire:
    """One connection: two queues of packets on their way, and who still holds which end."""

    def __init__(self, link: VirtualLink, number: int, life: Life) -> None:
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
        """Whether the client has been told that it is up, and both sides still hold it."""
        return self.up_s is not None and self._here and self._there

    # ── the client's side ──────────────────────────────────────────────────────────────────────────

    def connect(self, will: Publication | None) -> None:
        """Reach the broker, or not."""
        if self.life.closed or not self._here:  # reset on the way: another attempt has been asked for
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
        """Say goodbye."""
        self._up(lambda: self._place.broker.leave(self))
        self._here = False

    def die(self, noticed_s: float, lose_what_is_under_way: bool) -> None:
        """The process is gone; the broker learns of it after its last packets, and `noticed_s` of silence."""
        self._here = False
        if lose_what_is_under_way:
            self._there, was_there = False, self._there
        else:
            was_there = self._there
        last_s = max(self._last_up_s, self._place.clock.now_s + noticed_s)
        if was_there:
            self._place.clock.at(last_s, self._lost_there)

    def reset(self) -> None:
        """The network ends the connection; what is under way is lost, and both sides learn of it."""
        if self._here:
            self._here = False
            self._place.clock.after(self._place.weather.delay_s, lambda: self._link.ended(self, "reset"))
        if self._there:
            self._there = False
            self._place.clock.after(self._place.weather.delay_s, self._lost_there)

    def darken(self, seconds: float) -> None:
        """No packet comes through for so long: they wait, or both sides lose patience."""
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
        if not self._link.manual_ack:  # paho's own thread does it, whatever becomes of the message
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
