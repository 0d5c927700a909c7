"""One connection to a broker, with its own paho client. Only this and `turns` import paho.

paho's callbacks run on the network thread. They only put values into the inbox, because an exception in one
of them would end that thread.
"""

import logging
import select
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from threading import Condition, Event
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from fedge.service.settings import BrokerSettings
from fedge.transport.diagnosis import (
    NOT_AUTHORIZED,
    Peer,
    connect_too_large,
    lost,
    refused,
    too_small,
    unanswered,
)
from fedge.transport.events import (
    NO_ANSWER,
    RECEIVE_MAXIMUM,
    Answered,
    LinkDown,
    LinkEvent,
    LinkUp,
    MessageArrived,
    Publication,
)
from fedge.transport.mqtt.failures import FORESEEN, failure
from fedge.transport.mqtt.tls import tls_context
from fedge.transport.mqtt.turns import Turns
from fedge.transport.packets import LARGEST_PACKET, LEAST_PACKET, connect_bytes
from fedge.transport.protocol import Traffic
from fedge.transport.window import WINDOW

log = logging.getLogger(__name__)

SESSION_TAKEN_OVER, DISCONNECT_WITH_WILL = 0x8E, 0x04
MOST_HELD = 4 * 2**20
"""Bytes of messages that are not acknowledged, after which nothing more is read, with `manual_ack`. TCP then
stops the broker. Receive Maximum would not do: it counts messages, and Mosquitto 2.0 exceeds it; nor does it
count those that were published at QoS 0."""
HELD_EACH = 1_024
"""Bytes charged for a message besides its topic and payload, so that a flood of empty ones is bounded too."""
LONGEST_STOP_S = 2.0
"""How long reading stops at a time, so that the keep-alive goes on."""
LOOK_S = 0.2
"""How long to wait at a time for the first answer on a connection, between turns of paho."""


@dataclass(frozen=True)
class Options:
    """The options of all connections of a transport."""

    broker: BrokerSettings
    client_id: str
    will: Callable[[int], Publication] | None
    """The last will for the n-th connection."""
    keep_session_s: int
    manual_ack: bool

    @property
    def peer(self) -> Peer:
        """The broker, for messages."""
        broker = self.broker
        certificate = None if broker.certificate is None else str(broker.certificate)
        return Peer(broker.host, broker.port, broker.tls, certificate)


class PahoConnection:
    """One attempt to connect, and the connection if it succeeds.

    A paho client that reconnects sends unacknowledged messages again: an old manifest after a new one, or a
    packet for which the broker ends the connection each time. Here nothing outlives its connection.

    Args:
        options: the broker, and our identity.
        number: the number in its `LinkUp`.
        closed: set when the transport is closed.
        inbox: called with each event but `LinkDown`, on the network thread, until `closed` is set.
        alive: called in each turn of the network thread.
        traffic: counts the bytes.
        question: why an attempt before this one may have failed, if nobody knows. Then this one has no will,
            asks only what the broker takes, and ends.
    """

    def __init__(
        self,
        options: Options,
        number: int,
        closed: Event,
        inbox: Callable[[LinkEvent], None],
        alive: Callable[[], None],
        traffic: Traffic,
        question: str | None = None,
    ) -> None:
        self.number = number
        self.unanswered = False
        """Whether the broker closed the connection instead of answering the CONNECT."""
        self._question, self._unused = question, False
        self._options, self._peer = options, options.peer
        self._closed, self._inbox, self._alive, self._traffic = closed, inbox, alive, traffic
        self._reason = ""
        self._taken_over = False
        self._unauthorized = False
        self._up_s: float | None = None
        self._socket: socket.socket | None = None
        """Inspects the first bytes that arrive."""
        self._first: bytes | None = None
        self._last_bytes = 0
        """The size of the packet that was sent last."""
        self._held = 0
        """Bytes of messages that are not acknowledged, with `manual_ack`."""
        self._room = Condition()
        """Notified when they are MOST_HELD or fewer again, or the connection is to end."""
        self._ending = False
        self._turn_s = 0.0
        """When the present turn of the network thread began."""
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            options.client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
            manual_ack=options.manual_ack,
        )
        client.max_inflight_messages_set(WINDOW)
        client.on_socket_open = self._on_socket_open
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        self._client = client
        self._turns = Turns(client)

    # ── called by the owner's thread ───────────────────────────────────────────────────────────────

    def publish(self, publication: Publication) -> int:
        """As `Connection.publish`."""
        return self._publish(publication).mid

    def publish_last(self, publication: Publication, timeout_s: float) -> None:
        """Publish, and wait for the broker's acknowledgement, at most this long."""
        self._end()
        receipt = self._publish(publication)
        try:
            receipt.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError):
            log.debug("the offline status was not acknowledged")

    def subscribe(self, filters: tuple[str, ...]) -> int | None:
        """As `Connection.subscribe`."""
        _, mid = self._client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in filters])
        return mid

    def unsubscribe(self, filters: tuple[str, ...]) -> None:
        """As `Connection.unsubscribe`."""
        self._client.unsubscribe(list(filters))

    def acknowledge(self, message: MessageArrived) -> None:
        """As `Connection.acknowledge`; paho does nothing without `manual_ack`."""
        if message.mid != NO_ANSWER:
            self._client.ack(message.mid, 1)
        if self._options.manual_ack:
            with self._room:
                before = self._held
                self._held -= _charged(message)
                if self._held <= MOST_HELD < before:
                    self._room.notify()

    def disconnect(self, *, by_will: bool = False) -> None:
        """Disconnect so that the broker drops the will, or publishes it; `run` then ends."""
        code = ReasonCode(PacketTypes.DISCONNECT, identifier=DISCONNECT_WITH_WILL) if by_will else None
        self._client.disconnect(code)
        self._end()

    def _end(self) -> None:
        """Read whatever still comes, so that the last answers do."""
        with self._room:
            self._ending = True
            self._room.notify()

    def _publish(self, piece: Publication) -> mqtt.MQTTMessageInfo:
        properties = None if piece.expiry_s is None else _expiring(piece.expiry_s)
        self._traffic.sent += len(piece.topic) + len(piece.payload)
        self._last_bytes = len(piece.payload)
        return self._client.publish(piece.topic, piece.payload, 1, piece.retain, properties)

    # ── the network thread ─────────────────────────────────────────────────────────────────────────

    def run(self) -> LinkDown:
        """Connect and serve until the connection ends; return why it ended."""
        try:
            self._connect()
            if self._closed.is_set():
                self._client.disconnect()
            while self._turns.turn():
                self._alive()
                self._look()
                self._turn_s = time.monotonic()
        except Exception as error:  # no error may end the thread
            if not isinstance(error, FORESEEN):  # an answer that paho cannot read
                log.exception("the connection failed")
            self._reason = failure(self._peer, error)
        finally:
            self._let_go()
        return LinkDown(self._reason, self._taken_over, self._unauthorized)

    def _let_go(self) -> None:
        """Close the socket, which paho does not when it raises, and drop the callbacks.

        Then nothing leads from paho's client back to this connection: it is freed, with its other sockets,
        when this connection is.
        """
        self._turns.end()
        client = self._client
        open_still = client.socket()
        if open_still is not None:
            open_still.close()
        client.on_socket_open = client.on_connect = client.on_disconnect = None
        client.on_message = client.on_publish = client.on_subscribe = None

    @property
    def lasted_s(self) -> float | None:
        """Seconds since the broker accepted us; None: it has not."""
        return None if self._up_s is None else time.monotonic() - self._up_s

    def _connect(self) -> None:
        options, client, broker = self._options, self._client, self._options.broker
        if broker.tls:
            client.tls_set_context(tls_context(broker))
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if options.will is not None and self._question is None:
            will = options.will(self.number)
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = options.keep_session_s
        client.connect(
            broker.host,
            broker.port,
            keepalive=broker.keepalive_s,
            clean_start=options.keep_session_s == 0,
            properties=properties,
        )

    def _look(self) -> None:
        """Record the first bytes from the broker without consuming them, to detect what is no MQTT."""
        if self._socket is None or self._client.want_write():
            return
        try:
            if not select.select([self._socket], [], [], LOOK_S)[0]:
                return
            self._first = self._socket.recv(8, socket.MSG_PEEK)
        except (OSError, ValueError):  # it is gone; the loop reports that
            pass
        self._socket = None

    def _hold(self, size: int) -> bool:
        """Account for a message that has arrived; then stop while the owner has too many to acknowledge.

        Returns whether more may be read in this turn: not if there are still too many when the stop ends.
        """
        if not self._options.manual_ack:
            return True
        with self._room:
            self._held += size
            if self._held <= MOST_HELD:
                return True
            left_s = self._turn_s + LONGEST_STOP_S - time.monotonic()
            return self._room.wait_for(lambda: self._held <= MOST_HELD or self._ending, max(0.0, left_s))

    def _tell(self, event: LinkEvent) -> None:
        if not self._closed.is_set():
            self._inbox(event)

    def _on_socket_open(self, _client: object, _userdata: object, connection: Any) -> None:
        _no_delay(connection)
        if not self._peer.tls:
            self._socket = connection

    def _on_connect(
        self, _client: object, _userdata: object, flags: mqtt.ConnectFlags, code: ReasonCode, properties: Any
    ) -> None:
        if code.is_failure:
            self._reason = refused(self._peer, code.value, str(code))
            self._unauthorized = code.value == NOT_AUTHORIZED
            return  # the broker disconnects now
        max_packet = getattr(properties, "MaximumPacketSize", None) or LARGEST_PACKET
        if max_packet < LEAST_PACKET or self._question is not None:
            self._unused, self._reason = True, self._limit(max_packet)
            self._client.disconnect()
            return
        self._up_s = time.monotonic()
        receive_maximum = getattr(properties, "ReceiveMaximum", None) or RECEIVE_MAXIMUM
        self._tell(LinkUp(self.number, bool(flags.session_present), max_packet, receive_maximum))

    def _limit(self, max_packet: int) -> str:
        """Why this broker cannot be used, given its Maximum Packet Size; else what was asked."""
        options, broker = self._options, self._options.broker
        if max_packet < LEAST_PACKET:
            return too_small(self._peer, max_packet)
        will = options.will(self.number) if options.will is not None else None
        said = (will.topic, len(will.payload)) if will is not None else None
        size = connect_bytes(options.client_id, said, broker.username, broker.password)
        return connect_too_large(self._peer, size, max_packet) if size > max_packet else self._question or ""

    def _on_disconnect(
        self, _client: object, _userdata: object, flags: mqtt.DisconnectFlags, code: ReasonCode, _: object
    ) -> None:
        patience_s = float(self._options.broker.keepalive_s)
        if not self._reason:
            self.unanswered = self._up_s is None and not self._first and str(code) != "Keep alive timeout"
            self._reason = (
                unanswered(self._peer, self._first, str(code), patience_s)
                if self._up_s is None
                else lost(
                    self._peer,
                    str(code),
                    patience_s,
                    self._last_bytes,
                    said=flags.is_disconnect_packet_from_server,
                )
            )
        self._taken_over = code.value == SESSION_TAKEN_OVER

    def _on_message(self, _client: object, _userdata: object, message: mqtt.MQTTMessage) -> None:
        if self._unused:  # in a session the message comes again
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # no topic of ours: refused and acknowledged like any foreign message
        expiry = getattr(message.properties, "MessageExpiryInterval", None)
        self._traffic.received += len(topic) + len(message.payload)
        mid = message.mid if message.qos else NO_ANSWER
        arrived = MessageArrived(topic, bytes(message.payload), message.retain, expiry, self.number, mid)
        self._tell(arrived)
        if self._hold(_charged(arrived)):
            self._turns.came()

    def _on_publish(
        self, _client: object, _userdata: object, mid: int, code: ReasonCode, _properties: object
    ) -> None:
        self._turns.came()
        self._tell(Answered(mid, str(code) if code.is_failure else None))

    def _on_subscribe(
        self, _client: object, _userdata: object, mid: int, codes: list[ReasonCode], _properties: object
    ) -> None:
        refusal = next((str(code) for code in codes if code.is_failure), None)
        self._tell(Answered(mid, refusal, subscription=True))


def _charged(message: MessageArrived) -> int:
    """The bytes that a message is charged while it is not acknowledged."""
    return HELD_EACH + len(message.topic) + len(message.payload)


class _Packed(Properties):
    """Properties that are packed once: paho packs them anew for each message, which takes a tenth of it."""

    _bytes = b""

    def pack(self) -> bytes:
        """As `Properties.pack`."""
        if not self._bytes:
            vars(self)["_bytes"] = bytes(super().pack())  # type: ignore[no-untyped-call]
        return self._bytes


@lru_cache(maxsize=16)
def _expiring(seconds: int) -> Properties:
    properties = _Packed(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.MessageExpiryInterval = seconds
    return properties


def _no_delay(connection: Any) -> None:
    """Send small packets at once; waiting for earlier acknowledgements would cost 40 ms each."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
