"""The MQTT 5 link: connect, subscribe, send, and one inbox for all that comes. The only import of paho.

The network thread only puts values into the inbox. Everything else here is called by the one thread that
empties the inbox, so there are no locks. Sending while the link is down does nothing: whoever has something
to say says it again on `LinkUp`, from durable state, so nothing waits in memory for a broker that may be
days away.
"""

import errno
import logging
import math
import random
import select
import socket
import ssl
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from fedge.diagnosis import NOT_AUTHORIZED, Peer, lost, no_handshake, refused, unanswered
from fedge.errors import ConfigError, FedgeError
from fedge.liveness import Pulse
from fedge.settings import BrokerSettings

log = logging.getLogger(__name__)

WINDOW = 16
"""Publishes under way at once: Mosquitto stops a client at 20 unacknowledged."""
MOST_REPLIES = 4_096
"""Replies waiting at most."""
PACKET_OVERHEAD = 64
"""Bytes of a PUBLISH beyond topic and payload: fixed header, packet id, properties (MQTT 5, section 3.3)."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 20.0
STABLE_S = 5.0
"""A connection that lasted this long was a good one: after it the back-off begins anew."""
SESSION_TAKEN_OVER = 0x8E
LOOK_S = 0.2
"""So long a connection's first answer is waited for before paho is given its turn again."""
LONGEST_TURN_S, LONGEST_ATTEMPT_S = 30.0, 300.0
"""Between two signs of life of the network thread: paho's loop turns once a second, but an attempt
to connect may wait for the name, for TCP and for TLS in turn."""


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
    unauthorized: bool = False
    """The broker does not let us in: the name, or what proves it, counts no more."""


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

    Raises:
        ConfigError: the password or a TLS file cannot be used; names it.
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
    traffic: _Traffic = field(default_factory=_Traffic)
    pulse: Pulse = field(default_factory=lambda: Pulse("the network thread"))
    """Promises for as long as the link is open."""
    _max_packet: int = 0
    _connections: int = 0
    _newest: "_Connection | None" = None
    """Set by the network thread; `_current` is the one whose `LinkUp` has been handled."""
    _current: "_Connection | None" = None
    _closed: Event = field(default_factory=Event)
    _thread: Thread | None = None
    _batches: deque[_Batch] = field(default_factory=deque)
    _replies: OrderedDict[str, Publication] = field(default_factory=OrderedDict)
    """By topic, the one that has waited longest first."""
    _under_way: dict[int, _Batch] = field(default_factory=dict)
    _filters: dict[int, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Files that cannot be used are told at the start; each connection reads them anew, so that a renewed
        # certificate counts from the next one on.
        _ = self.broker.password
        if self.broker.tls:
            _tls_context(self.broker)

    # ── called by the thread that empties the inbox ────────────────────────────────────────────────

    def open(self) -> None:
        """Begin to connect, and to come back after every loss, until `close`."""
        self._closed = Event()
        self._thread = Thread(target=self._stay_connected, args=(self._closed,), name="link", daemon=True)
        self._thread.start()

    def close(self, last_words: Publication | None = None, *, timeout_s: float = 1.0) -> None:
        """Say `last_words` and disconnect cleanly (the will is not sent); `open` may follow.

        A broker that hangs holds us no longer than `timeout_s`: what waits for it is left to its own thread.
        """
        deadline_s = time.monotonic() + timeout_s
        if self.up and last_words is not None:
            receipt = self._publish(last_words)
            try:
                receipt.wait_for_publish(timeout_s * 0.8)
            except (RuntimeError, ValueError):
                log.debug("the last words were not acknowledged")
        self._closed.set()
        self.handle_down()
        if self._newest is not None:
            self._newest.client.disconnect()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline_s - time.monotonic()))
        self.pulse.rest()

    def handle_up(self, event: LinkUp) -> None:
        """Begin a connection's life: call first on every `LinkUp`."""
        newest = self._newest
        self._current = newest if newest is not None and newest.number == event.connection else None
        # It may be gone by now, or the link closed: then nothing is sent on it.
        self.up = self._current is not None and not self._closed.is_set()
        self._max_packet = event.max_packet
        self._forget()

    def handle_down(self) -> None:
        """Forget what was under way: call first on every `LinkDown`."""
        self.up, self._current = False, None
        self._forget()

    def send(self, publications: Iterable[Publication], token: object = None) -> None:
        """Send in order, `WINDOW` at a time; a `Sent(token, …)` comes when the broker has all of them.

        While the link is down this does nothing.
        """
        if self.up:
            self._batches.append(_Batch(iter(publications), token))
            self._pump()

    def reply(self, publication: Publication) -> None:
        """Send once nothing else waits; until then a newer one on the same topic takes its place.

        For what others make us say as fast as they like, and ask for again if it does not come: it holds up
        nothing that `send` is given, and beyond `MOST_REPLIES` on different topics it is dropped.
        """
        if self.up and (publication.topic in self._replies or len(self._replies) < MOST_REPLIES):
            self._replies[publication.topic] = publication
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
        if self.up and self._current is not None and filters:
            _, mid = self._current.client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in filters])
            if mid is not None:
                self._filters[mid] = list(filters)

    def unsubscribe(self, *filters: str) -> None:
        """Stop receiving these topic filters."""
        if self.up and self._current is not None and filters:
            self._current.client.unsubscribe(list(filters))

    def ack(self, message: MessageArrived) -> None:
        """Acknowledge a handled message, unless the connection it came on is gone (then it comes again)."""
        if self._current is not None and message.connection == self._current.number:
            self._current.client.ack(message.mid, 1)

    def _forget(self) -> None:
        self._batches.clear()
        self._replies.clear()
        self._under_way.clear()
        self._filters.clear()

    def _pump(self) -> None:
        while (self._batches or self._replies) and len(self._under_way) < WINDOW:
            if not self._batches:
                _, reply = self._replies.popitem(last=False)
                self._batches.append(_Batch(iter([reply]), None))
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
        assert self._current is not None
        self._current.last_bytes = len(piece.payload)
        return self._current.client.publish(piece.topic, piece.payload, 1, piece.retain, properties)

    def _finish(self, batch: _Batch) -> None:
        if batch.exhausted and batch.open == 0 and (batch.token is not None or batch.refusal):
            self.inbox(Sent(batch.token, batch.refusal))

    # ── the network thread ─────────────────────────────────────────────────────────────────────────

    def _stay_connected(self, closed: Event) -> None:
        failures = 0
        while not closed.is_set():
            self.promise(closed, LONGEST_ATTEMPT_S)
            self._connections += 1
            connection = self._newest = _Connection(self, self._connections, closed)
            down = connection.run()
            if closed.is_set():
                return
            self.inbox(down)
            failures = 1 if connection.stable else failures + 1
            lost = connection.accepted or failures == 1
            draw = random.random()  # nosec B311 # jitter, not a secret
            wait_s = pause_s(failures, self.spread_s, draw, lost=lost)
            self.promise(closed, wait_s + LONGEST_TURN_S)
            closed.wait(wait_s)

    def promise(self, closed: Event, seconds: float) -> None:
        """Promise for the network thread, unless the life of the link that `closed` ends is over."""
        if not closed.is_set():
            self.pulse.within(seconds)


def pause_s(failures: int, spread_s: float, draw: float, *, lost: bool) -> float:
    """How long to wait before the next attempt to connect, so that a fleet does not come at once.

    What all lose in the same moment, each seeks again at its own moment within the spread. While the broker
    stays away each comes once in a spread, at about the moment it drew: were it drawn anew each time from the
    whole spread, attempts would pile up, to e = 2.7 times their mean rate at the spread's end (the renewal
    density of a uniform law), just where a broker may come back.

    Args:
        failures: attempts that did not bring a lasting connection, this one included; from 1 on.
        spread_s: the fleet's `reconnect_spread_s`; 0 while it is not known.
        draw: uniform in [0, 1).
        lost: a connection was lost, or it is the first attempt: all others may be at the same point.
    """
    longest_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(failures - 1, 10))
    if lost:
        return 0.05 + draw * (longest_s + spread_s)
    return 0.05 + spread_s + draw * longest_s


class _Connection:
    """One attempt to connect and what comes of it, with a paho client of its own.

    paho takes what was not acknowledged over into its next connection: an old manifest behind a new one, or
    a packet that the broker cuts the connection for, each time. Here nothing outlives its connection.
    """

    def __init__(self, link: Link, number: int, closed: Event) -> None:
        self.number = number
        self._link = link
        self._closed = closed
        self._reason = ""
        self._taken_over = False
        self._unauthorized = False
        self._up_s = math.inf
        self._socket: socket.socket | None = None
        """To look at what comes first, until something has."""
        self._first: bytes | None = None
        self.last_bytes = 0
        """Of the packet that was sent last."""
        self._peer = Peer(
            link.broker.host,
            link.broker.port,
            link.broker.tls,
            str(link.broker.certificate) if link.broker.certificate is not None else None,
        )
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            link.client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=link.manual_ack,
        )
        client.max_inflight_messages_set(WINDOW)
        client.on_socket_open = self._on_socket_open
        client.on_socket_register_write = _leave_it_to_the_loop
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        self.client = client

    def run(self) -> LinkDown:
        """Connect and serve until the connection ends; tells how it did."""
        try:
            self._connect()
            if self._closed.is_set():
                self.client.disconnect()
            while self.client.loop() == mqtt.MQTT_ERR_SUCCESS:
                self._link.promise(self._closed, LONGEST_TURN_S)
                self._look()
        except FedgeError as error:
            self._reason = str(error)
        except ssl.SSLCertVerificationError as error:
            self._reason = (
                f"{self._peer} is not trusted: {error.verify_message} "
                "(is [broker] ca its authority, and this machine's clock right?)"
            )
        except ssl.SSLError as error:
            self._reason = no_handshake(self._peer, error)
        except (OSError, ValueError) as error:  # ValueError: what no resolver takes for a name
            full = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
            met = self._peer.tls and isinstance(error, ConnectionResetError)  # it was there, and ended TLS
            self._reason = (
                f"{self._peer} cannot be reached: this program, or this machine, has too many files and "
                f"connections open (`ulimit -n`, LimitNOFILE=): {error}"
                if full
                else no_handshake(self._peer, error)
                if met and isinstance(error, OSError)
                else f"no broker answers at {self._peer}: {error}"
            )
        except Exception as error:  # an answer that paho cannot read must not end the thread
            log.exception("the connection failed")
            self._reason = f"{self._peer} answered what cannot be read: {type(error).__name__}: {error}"
        return LinkDown(self._reason, self._taken_over, self._unauthorized)

    @property
    def accepted(self) -> bool:
        """Whether the broker accepted us."""
        return self._up_s < math.inf

    @property
    def stable(self) -> bool:
        """Whether the broker accepted us, a while ago."""
        return time.monotonic() - self._up_s > STABLE_S

    def _on_socket_open(self, _client: object, _userdata: object, connection: Any) -> None:
        _no_delay(connection)
        if not self._peer.tls:
            self._socket = connection

    def _look(self) -> None:
        """Note what the broker says first, and leave it there; what is no MQTT is told by it."""
        if self._socket is None or self.client.want_write():
            return
        try:
            if not select.select([self._socket], [], [], LOOK_S)[0]:
                return
            self._first = self._socket.recv(8, socket.MSG_PEEK)
        except (OSError, ValueError):  # it is gone: the loop says so
            pass
        self._socket = None

    def _connect(self) -> None:
        link, client = self._link, self.client
        if link.broker.tls:
            client.tls_set_context(_tls_context(link.broker))
        if link.broker.username is not None:
            client.username_pw_set(link.broker.username, link.broker.password)
        if link.will is not None:
            will = link.will(self.number)
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = link.keep_session_s
        client.connect(
            link.broker.host,
            link.broker.port,
            keepalive=link.broker.keepalive_s,
            clean_start=link.keep_session_s == 0,
            properties=properties,
        )

    def _tell(self, event: LinkEvent) -> None:
        if not self._closed.is_set():
            self._link.inbox(event)

    def _on_connect(
        self, _client: object, _userdata: object, flags: mqtt.ConnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure:
            self._reason = refused(self._peer, code.value, str(code))
            self._unauthorized = code.value == NOT_AUTHORIZED
            return  # the broker disconnects now
        self._up_s = time.monotonic()
        max_packet = getattr(properties, "MaximumPacketSize", None) or 2**28 - 1
        self._tell(LinkUp(self.number, bool(flags.session_present), max_packet))

    def _on_disconnect(
        self, _client: object, _userdata: object, flags: mqtt.DisconnectFlags, code: ReasonCode, _: object
    ) -> None:
        patience_s = float(self._link.broker.keepalive_s)
        if not self._reason:
            self._reason = (
                lost(
                    self._peer,
                    str(code),
                    patience_s,
                    self.last_bytes,
                    said=flags.is_disconnect_packet_from_server,
                )
                if self.accepted
                else unanswered(self._peer, self._first, str(code), patience_s)
            )
        self._taken_over = code.value == SESSION_TAKEN_OVER

    def _on_message(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # no topic of ours: refused and acknowledged like any other stranger
        expiry = getattr(message.properties, "MessageExpiryInterval", None)
        self._link.traffic.received += len(topic) + len(message.payload)
        self._tell(
            MessageArrived(topic, bytes(message.payload), message.retain, expiry, self.number, message.mid)
        )

    def _on_publish(
        self, _client: object, _userdata: object, mid: int, code: ReasonCode, _properties: object
    ) -> None:
        self._tell(Answered(mid, str(code) if code.is_failure else None))

    def _on_subscribe(
        self, _client: object, _userdata: object, mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        refusal = next((str(code) for code in codes if code.is_failure), None)
        self._tell(Answered(mid, refusal, subscription=True))


def _leave_it_to_the_loop(*_: object) -> None:
    """Without this paho writes from whichever thread publishes; its loop is woken up anyway."""


def _no_delay(connection: Any) -> None:
    """Send small packets at once: held back until an earlier one is acknowledged, each costs 40 ms."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _TlsSocket(ssl.SSLSocket):
    """Closed where its handshake fails: paho leaves that to the garbage collector."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def _tls_context(broker: BrokerSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=str(broker.ca) if broker.ca else None)
    except OSError as error:
        raise ConfigError(f"{broker.ca}: holds no certificate in PEM format: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _TlsSocket
    if broker.certificate is not None and broker.key is not None:
        try:
            context.load_cert_chain(broker.certificate, broker.key)
        except OSError as error:
            raise ConfigError(
                f"{broker.certificate}, {broker.key}: must be a certificate and its key, in PEM format: "
                f"{error}"
            ) from None
    return context
