"""The MQTT 5 link: connect, subscribe, send, and one inbox for all that comes. The only import of paho.

paho's network thread only puts values into the inbox (an exception in one of its callbacks would end that
thread without a word). Everything else here is called by the one thread that empties the inbox, so there
are no locks. Sending while the link is down does nothing: whoever has something to say says it again on
`LinkUp`, from durable state, so nothing waits in memory for a broker that may be days away.
"""

import logging
import random
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from fedge.settings import BrokerSettings

log = logging.getLogger(__name__)

WINDOW = 16
"""Publishes under way at once: Mosquitto stops a client at 20 unacknowledged."""
PACKET_OVERHEAD = 64
"""Bytes of a PUBLISH beyond topic and payload: fixed header, packet id, properties (MQTT 5, section 3.3)."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 20.0
SESSION_TAKEN_OVER = 0x8E


@dataclass(frozen=True)
class Publication:
    """One message to send, always QoS 1."""

    topic: str
    payload: bytes
    retain: bool = False
    expiry_s: int | None = None


@dataclass(frozen=True)
class LinkUp:
    """The broker accepted us; `session_present`: it kept our session from before."""

    connection: int
    session_present: bool
    max_packet: int


@dataclass(frozen=True)
class LinkDown:
    """The connection ended or could not be made."""

    reason: str
    taken_over: bool = False


@dataclass(frozen=True)
class MessageArrived:
    """A message; `retained`: it lay at the broker; `expiry_left_s`: what is left of its MessageExpiry."""

    topic: str
    payload: bytes
    retained: bool
    expiry_left_s: int | None
    connection: int
    mid: int


@dataclass(frozen=True)
class Answered:
    """The broker answered a publish or subscribe; give it to `Link.settle`."""

    mid: int
    refusal: str | None
    subscription: bool = False


@dataclass(frozen=True)
class Sent:
    """All publications of one `send` were acknowledged, or `refusal` says why not."""

    token: object
    refusal: str | None


LinkEvent = LinkUp | LinkDown | MessageArrived | Answered | Sent


@dataclass(eq=False)
class _Batch:
    """What one `send` was asked to do: pulled piece by piece, so a big model is never queued twice."""

    pieces: Iterator[Publication]
    token: object
    open: int = 0
    exhausted: bool = False
    refusal: str | None = None


@dataclass
class _Traffic:
    received: int = 0
    sent: int = 0


@dataclass(eq=False)
class Link:
    """One client of one broker.

    Args:
        broker: address, credentials and keep-alive.
        client_id: stable identity at the broker.
        inbox: called with each `LinkEvent`, from the network thread too; must only enqueue.
        will: the last will for the n-th connection.
        keep_session: ask the broker to keep our session for this many seconds; 0: start clean each time.
        manual_ack: acknowledge with `ack` once handled, instead of on arrival.
    """

    broker: BrokerSettings
    client_id: str
    inbox: Callable[[LinkEvent], None]
    will: Callable[[int], Publication] | None = None
    keep_session_s: int = 0
    manual_ack: bool = False
    spread_s: float = 0.0
    """Come back within this many seconds after the broker was away, so that a fleet does not come at once."""
    up: bool = False
    connection: int = 0
    traffic: _Traffic = field(default_factory=_Traffic)
    _max_packet: int = 0
    _refusal: str = ""
    _ended: Event = field(default_factory=Event)
    _failures: int = 0
    _batches: deque[_Batch] = field(default_factory=deque)
    _under_way: dict[int, _Batch] = field(default_factory=dict)
    _filters: dict[int, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, self.client_id, protocol=mqtt.MQTTv5, manual_ack=self.manual_ack
        )
        if self.broker.tls:
            client.tls_set_context(_tls_context(self.broker))
        if self.broker.username is not None:
            client.username_pw_set(self.broker.username, self.broker.password)
        client.max_inflight_messages_set(WINDOW)
        client.on_socket_open = _no_delay
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        self._client = client

    # ── called by the thread that empties the inbox ────────────────────────────────────────────────

    def open(self) -> None:
        """Begin to connect, and to come back after every loss, until `close`."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self.keep_session_s
        self._client.connect_async(
            self.broker.host,
            self.broker.port,
            keepalive=self.broker.keepalive_s,
            clean_start=self.keep_session_s == 0,
            properties=properties,
        )
        self._client.loop_start()

    def close(self, last_words: Publication | None = None, *, timeout_s: float = 1.0) -> None:
        """Say `last_words`, disconnect cleanly (the will is not sent), and end the network thread."""
        if self.up and last_words is not None:
            receipt = self._publish(last_words)
            try:
                receipt.wait_for_publish(timeout_s)
            except (RuntimeError, ValueError):
                log.debug("the last words were not acknowledged")
        was_up, self.up = self.up, False
        self._ended.clear()
        self._client.disconnect()
        if not was_up or self._ended.wait(timeout_s):  # a broker that hangs must not hold us: a daemon thread
            self._client.loop_stop()

    def handle_up(self, event: LinkUp) -> None:
        """Begin a connection's life: call first on every `LinkUp`."""
        self.up, self._max_packet = True, event.max_packet
        self._forget()

    def handle_down(self) -> None:
        """Forget what was under way: call first on every `LinkDown`."""
        self.up = False
        self._forget()

    def send(self, publications: Iterable[Publication], token: object = None) -> None:
        """Send in order, `WINDOW` at a time; a `Sent(token, …)` comes when the broker has all of them.

        While the link is down this does nothing.
        """
        if self.up:
            self._batches.append(_Batch(iter(publications), token))
            self._pump()

    def settle(self, answer: Answered) -> None:
        """Account for a broker's answer, and send what waited for it."""
        if answer.subscription:
            filters = self._filters.pop(answer.mid, [])
            if answer.refusal:
                log.error("the broker refuses the subscription to %s: %s", ", ".join(filters), answer.refusal)
            return
        batch = self._under_way.pop(answer.mid, None)
        if batch is None:  # an answer to something sent on an earlier connection
            return
        batch.open -= 1
        if answer.refusal:
            batch.refusal = answer.refusal
        self._finish(batch)
        self._pump()

    def subscribe(self, *filters: str) -> None:
        """Subscribe at QoS 1; retained messages come at once."""
        if self.up and filters:
            _, mid = self._client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in filters])
            if mid is not None:
                self._filters[mid] = list(filters)

    def unsubscribe(self, *filters: str) -> None:
        """Stop receiving these topic filters."""
        if self.up and filters:
            self._client.unsubscribe(list(filters))

    def ack(self, message: MessageArrived) -> None:
        """Acknowledge a handled message, unless the connection it came on is gone (then it comes again)."""
        if message.connection == self.connection:
            self._client.ack(message.mid, 1)

    def _forget(self) -> None:
        self._batches.clear()
        self._under_way.clear()
        self._filters.clear()

    def _pump(self) -> None:
        while self._batches and len(self._under_way) < WINDOW:
            batch = self._batches[0]
            piece = None if batch.refusal else next(batch.pieces, None)
            if piece is None:
                self._batches.popleft()
                batch.exhausted = True
                self._finish(batch)
                continue
            size = len(piece.topic.encode()) + len(piece.payload) + PACKET_OVERHEAD
            if size > self._max_packet:  # the broker would cut the connection, again at each attempt
                batch.refusal = (
                    f"{piece.topic}: a packet of {size} bytes is over the broker's limit of "
                    f"{self._max_packet}: raise its maximum packet size"
                )
                continue
            receipt = self._publish(piece)
            batch.open += 1
            self._under_way[receipt.mid] = batch

    def _publish(self, piece: Publication) -> mqtt.MQTTMessageInfo:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if piece.expiry_s is not None:
            properties.MessageExpiryInterval = piece.expiry_s
        self.traffic.sent += len(piece.topic) + len(piece.payload)
        return self._client.publish(piece.topic, piece.payload, 1, piece.retain, properties)

    def _finish(self, batch: _Batch) -> None:
        if batch.exhausted and batch.open == 0 and (batch.token is not None or batch.refusal):
            self.inbox(Sent(batch.token, batch.refusal))

    # ── called by paho's network thread: only enqueue ──────────────────────────────────────────────

    def _on_pre_connect(self, client: mqtt.Client, _userdata: object) -> None:
        self.connection += 1
        if self.will is not None:
            will = self.will(self.connection)
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)

    def _on_connect(
        self, _client: object, _userdata: object, flags: mqtt.ConnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure:
            self._refusal = str(code)
            return  # the disconnect that follows tells the inbox
        self._failures = 0
        max_packet = getattr(properties, "MaximumPacketSize", None) or 2**28 - 1
        self.inbox(LinkUp(self.connection, bool(flags.session_present), max_packet))

    def _on_connect_fail(self, _client: object, _userdata: object) -> None:
        self._back_off()
        self.inbox(LinkDown(f"no broker answers at {self.broker.host}:{self.broker.port}"))

    def _on_disconnect(
        self, _client: object, _userdata: object, _flags: object, code: ReasonCode, _properties: object
    ) -> None:
        self._back_off()
        reason, self._refusal = self._refusal or str(code), ""
        self.inbox(LinkDown(reason, taken_over=code.value == SESSION_TAKEN_OVER))
        self._ended.set()

    def _on_message(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # no topic of ours: refused and acknowledged like any other stranger
        expiry = getattr(message.properties, "MessageExpiryInterval", None)
        self.traffic.received += len(topic) + len(message.payload)
        self.inbox(
            MessageArrived(
                topic, bytes(message.payload), message.retain, expiry, self.connection, message.mid
            )
        )

    def _on_publish(
        self, _client: object, _userdata: object, mid: int, code: ReasonCode, _properties: object
    ) -> None:
        self.inbox(Answered(mid, str(code) if code.is_failure else None))

    def _on_subscribe(
        self, _client: object, _userdata: object, mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        refusal = next((str(code) for code in codes if code.is_failure), None)
        self.inbox(Answered(mid, refusal, subscription=True))

    def _back_off(self) -> None:
        """Full jitter (paho has none: a thousand devices would come back in the same second)."""
        self._failures += 1
        longest = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2 ** min(self._failures - 1, 10))
        delay = random.uniform(0.05, longest + self.spread_s)
        self._client.reconnect_delay_set(delay, delay)  # type: ignore[arg-type]  # floats work


def _no_delay(_client: object, _userdata: object, connection: Any) -> None:
    """Send small packets at once: held back until an earlier one is acknowledged, each costs 40 ms."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _tls_context(broker: BrokerSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(broker.ca) if broker.ca else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if broker.certificate is not None and broker.key is not None:
        context.load_cert_chain(broker.certificate, broker.key)
    return context
