"""What the programs need of a network: `Transport`.

`fedge.transport.mqtt.MqttTransport` implements it over MQTT 5, `fleet.simulator.link.VirtualLink` on the
virtual network of the simulated world. `tests/transport` runs the same checks on both; a third implementation
is done when it passes them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from fedge.service.liveness import Pulse
from fedge.transport.events import LinkEvent, MessageArrived, Publication


@dataclass
class Traffic:
    """Bytes of topics and payloads, since the transport was made."""

    received: int = 0
    sent: int = 0


class Transport(Protocol):
    """One client of one broker, which comes back by itself after each loss.

    **Events.** A transport is made with an inbox, a callable. It calls the inbox with each `LinkEvent`, from
    any thread, in the order in which things happened; the inbox only enqueues. The owner passes each event
    to `handle` before it acts on it. Events from before a `close` may be passed or dropped: they change
    nothing.

    **One thread.** Every method is called by the one thread that empties the inbox, so an implementation
    needs no lock for what only they use.

    **Nothing waits for a connection.** While `up` is false, all that would send does nothing, and what is
    under way when a connection is lost is forgotten. The owner sends again on `LinkUp`, from durable state.

    **Delivery** is MQTT's QoS 1: at least once, and in order on each topic. A message that is not
    acknowledged comes again on the next connection, if the broker keeps the session.

    No method raises for what a broker or a network does: that arrives as `LinkDown`, or as a `refusal`.
    """

    @property
    def up(self) -> bool:
        """Whether there is a connection whose `LinkUp` has been handled."""

    @property
    def traffic(self) -> Traffic:
        """Bytes sent and received; read by any thread."""

    @property
    def pulse(self) -> Pulse:
        """Signs of life of the transport's own thread while it is open; at rest if it has none."""

    spread_s: float
    """Return within so many seconds after the broker was away, so that a fleet does not return at once."""

    def open(self) -> None:
        """Begin to connect, and to come back after every loss, until `close`. It may be opened again."""

    def close(self, offline_status: Publication | None = None, *, timeout_s: float = 1.0) -> None:
        """Publish `offline_status`, if it is up, and disconnect so that the broker drops the will.

        It returns within `timeout_s`, whatever the broker does. Closed twice is closed once.
        """

    def handle(self, event: LinkEvent) -> None:
        """Account for an event.

        A `LinkUp` begins its connection, unless that is gone already; a `LinkDown` ends it; an `Answered`
        makes room for what waits to be sent. The others change nothing.
        """

    def send(self, publications: Iterable[Publication], token: object = None) -> None:
        """Send in order, one batch after the other, at most `WINDOW` publications unanswered.

        `publications` is pulled only as there is room, so a generator need not hold a model in memory twice;
        it may end early. `Sent(token, refusal)` comes once the broker has answered all of them: without a
        refusal only if there is a token. After a refusal the rest of its batch is not sent. A packet that is
        larger than the broker takes is refused here, because a broker would end the connection.
        """

    def reply(self, publication: Publication) -> None:
        """Send once nothing else waits; until then a newer one on the same topic takes its place.

        For what others make us say as fast as they like, and ask for again if it does not come: it holds up
        nothing that `send` is given, and beyond `MOST_REPLIES` on different topics it is dropped.
        """

    def subscribe(self, *filters: str) -> None:
        """Subscribe at QoS 1; retained messages come at once. `Answered(subscription=True)` follows.

        The subscription lasts as long as the session: a transport whose session is not kept subscribes again
        on each `LinkUp` that says `session_present=False`.
        """

    def unsubscribe(self, *filters: str) -> None:
        """Stop receiving these topic filters; what is under way still comes."""

    def acknowledge(self, message: MessageArrived) -> None:
        """Tell the broker that a message is handled: what must be durable is (`manual_ack`).

        A message of an earlier connection is not acknowledged: it comes again. Where `manual_ack` is off the
        transport acknowledges each message as it arrives, and this does nothing.
        """


class Connection(Protocol):
    """One connection, as `fedge.transport.outbound` uses it: each method sends one packet."""

    @property
    def number(self) -> int:
        """That of its `LinkUp`."""

    def publish(self, publication: Publication) -> int:
        """Send a publication at QoS 1; returns the `mid` of its `Answered`."""

    def subscribe(self, filters: tuple[str, ...]) -> int | None:
        """Subscribe at QoS 1; returns the `mid` of its `Answered`, or None: the connection is gone."""

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """Stop receiving these topic filters."""

    def acknowledge(self, message: MessageArrived) -> None:
        """Acknowledge a message that came on this connection."""
