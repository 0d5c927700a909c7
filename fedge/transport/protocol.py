"""`Transport`: the interface to a network.

`fedge.transport.mqtt.MqttTransport` implements it over MQTT 5, `fleet.simulator.link.VirtualLink` on the
virtual network of the simulated world. `tests/transport` runs the same checks on both; another implementation
must pass them too.
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
    """One client of one broker, which reconnects by itself after each loss.

    **Events.** A transport is made with an inbox, a callable. It calls the inbox with each `LinkEvent`, from
    any thread, in the order of the events; the inbox only enqueues. The owner passes each event
    to `handle` before it acts on it. Events from before a `close` may be passed or dropped: they change
    nothing.

    **One thread.** Every method is called by the one thread that empties the inbox, so an implementation
    needs no lock for what only they use.

    **Nothing waits for a connection.** While `up` is false, methods that send do nothing. What is in flight
    when a connection is lost is forgotten. The owner sends again on `LinkUp`, from durable state.

    **Delivery** is MQTT's QoS 1: at least once, and in order on each topic. A message that is not
    acknowledged comes again on the next connection, if the broker keeps the session.

    No method raises because of the broker or the network: such errors arrive as `LinkDown`, or as a
    `refusal`.
    """

    @property
    def up(self) -> bool:
        """Whether there is a connection whose `LinkUp` has been handled."""

    @property
    def traffic(self) -> Traffic:
        """Bytes sent and received; read by any thread."""

    @property
    def pulse(self) -> Pulse:
        """Signs of life of the transport's own thread while it is open; none if it has no thread."""

    spread_s: float
    """Reconnect within so many seconds after an outage, so that a fleet does not reconnect all at once."""

    def open(self) -> None:
        """Connect, and reconnect after every loss, until `close`. It may be opened again."""

    def close(self, offline_status: Publication | None = None, *, timeout_s: float = 1.0) -> None:
        """Publish `offline_status`, if it is up, and disconnect so that the broker drops the will.

        It returns within `timeout_s`, whatever the broker does. A second call does nothing.
        """

    def handle(self, event: LinkEvent) -> None:
        """Account for an event.

        A `LinkUp` begins its connection, unless that has ended already; a `LinkDown` ends it; an `Answered`
        makes room for waiting messages. Other events change nothing.
        """

    def room(self, topic: str) -> int:
        """The most bytes of a payload on this topic that our settings and the broker allow.

        It is the same as long as a connection lasts. It is below 1 if not even the topic fits.
        """

    def send(self, publications: Iterable[Publication], token: object = None, *, bulk: bool = False) -> None:
        """Send in order, one batch after the other, at most `WINDOW` publications unanswered.

        The broker may allow fewer (its Receive Maximum). With `bulk`, for the frames of large messages, a
        batch goes in the order of the other bulk batches, when no other batch waits, and not while more than
        `IN_FLIGHT_BYTES` are unanswered. So other messages do not wait behind a large one.

        `publications` is pulled only as there is room, so a generator need not hold a model in memory twice;
        it may end early. `Sent(token, refusal)` comes once the broker has answered all of them: without a
        refusal only if there is a token. After a refusal the rest of its batch is not sent. A packet that is
        larger than the broker takes, or than our settings allow, is refused here, because a broker would end
        the connection.
        """

    def reply(self, publication: Publication) -> None:
        """Send when nothing else waits; until then a newer reply on the same topic replaces it.

        Use it for answers to messages that may arrive at any rate, and that the sender repeats without an
        answer. A reply never delays a `send`, and a bulk batch by at most one reply for each of its frames.
        Beyond `MOST_REPLIES` on different topics a reply is dropped.
        """

    def subscribe(self, *filters: str) -> None:
        """Subscribe at QoS 1; retained messages come at once. `Answered(subscription=True)` follows.

        The subscription lasts as long as the session. After a `LinkUp` with `session_present=False` the
        owner must subscribe again.
        """

    def unsubscribe(self, *filters: str) -> None:
        """Stop receiving these topic filters; messages on the way still arrive."""

    def acknowledge(self, message: MessageArrived) -> None:
        """Tell the broker that a message is handled, and its consequences durable (`manual_ack`).

        A message of an earlier connection is not acknowledged; it comes again. Without `manual_ack` the
        transport acknowledges each message on arrival, and this does nothing.
        """


class Connection(Protocol):
    """One connection, as `fedge.transport.outbound` uses it: each method sends one packet."""

    @property
    def number(self) -> int:
        """The number in its `LinkUp`."""

    def publish(self, publication: Publication) -> int:
        """Send a publication at QoS 1; returns the `mid` of its `Answered`."""

    def subscribe(self, filters: tuple[str, ...]) -> int | None:
        """Subscribe at QoS 1; returns the `mid` of its `Answered`, or None: the connection is gone."""

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """Stop receiving these topic filters."""

    def acknowledge(self, message: MessageArrived) -> None:
        """Acknowledge a message that came on this connection."""
