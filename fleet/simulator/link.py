"""`Transport` on a virtual network, with production's own window, accounts and back-off."""

from collections.abc import Callable, Iterable

from fedge.service.liveness import Pulse
from fedge.transport import Answered, LinkDown, LinkEvent, LinkUp, MessageArrived, Publication, Traffic
from fedge.transport.backoff import Backoff
from fedge.transport.outbound import Outbound
from fedge.wire.frames import FRAME_HEAD
from fedge.wire.topics import parse
from fleet.simulator.place import Place
from fleet.simulator.wire import Life, Wire


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
        self._takes = place.broker.takes

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
                self._takes = self.place.broker.takes
                self._outbound.begin(self.wire if here else None, event)
            case LinkDown():
                self._outbound.end()
            case Answered():
                self._outbound.settle(event)
            case _:
                pass

    def room(self, topic: str) -> int:
        """As `Transport.room`."""
        room, address = self._outbound.room(topic), parse(topic)
        framed = address is not None and (address.i is not None or address.kind == "update")
        return min(room, self._takes + FRAME_HEAD) if framed else room

    def send(self, publications: Iterable[Publication], token: object = None, *, bulk: bool = False) -> None:
        """As `Transport.send`."""
        self._outbound.send(publications, token, bulk=bulk)

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
        """Kill the host; the broker notices after `noticed_s`."""
        self._life.closed = True
        if self.wire is not None:
            self.wire.die(noticed_s, lose_what_is_under_way)

    def ended(self, wire: Wire, reason: str, *, taken_over: bool = False) -> None:
        """Report that a connection has ended, and schedule the next attempt."""
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
