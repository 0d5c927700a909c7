"""Roles that try every topic: what the broker takes from them, and what it gives them.

The truth is not the broker's answer but what a spy hears, whose block (`readwrite #`) is added to the access
list for the test alone. Each phase ends with an answer that comes after all others; nothing waits for a fixed
time.
"""

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE_S = 90.0
NOT_AUTHORIZED = 0x87
"""MQTT 5, section 2.4."""
_numbers = itertools.count()


class Refused(Exception):  # noqa: N818 (an outcome that is expected)
    """The broker did not let somebody in."""


@dataclass
class Member:
    """A connection of the tests' own, handled on paho's thread."""

    port: int
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = None
    client_id: str = ""
    keep_session: bool = False
    """Whether the session stays when this connection ends; it also resumes one."""
    resumes: bool = False
    will: str | None = None
    heard: set[tuple[str, bool, bytes]] = field(default_factory=set)
    """Of each message that came: topic, whether it had lain at the broker, payload."""
    lost: threading.Event = field(default_factory=threading.Event)
    session_present: bool = False

    def __post_init__(self) -> None:
        self._up = threading.Event()
        self._refusal = ""
        self._answers: dict[int, int] = {}
        self._changed = threading.Condition()
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, self.client_id, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        if self.tls is not None:
            client.tls_set_context(self.tls)
        if self.username is not None:
            client.username_pw_set(self.username, self.password)
        if self.will is not None:
            client.will_set(self.will, b"will", qos=1)
        client.max_inflight_messages_set(20)
        client.on_socket_open = lambda _c, _d, opened: opened.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = lambda _c, _d, mid, code, _p: self._answer(mid, code.value)
        client.on_subscribe = lambda _c, _d, mid, codes, _p: self._answer(mid, codes[0].value)
        self.client = client

    def open(self) -> "Member":
        """Connect.

        Raises:
            Refused: the broker, or TLS, says no.
        """
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 60 if self.keep_session else 0
        try:
            self.client.connect(
                "127.0.0.1",
                self.port,
                clean_start=not (self.keep_session or self.resumes),
                properties=properties,
            )
        except OSError as error:
            raise Refused(str(error)) from None
        self.client.loop_start()
        if not self._up.wait(PATIENCE_S):
            raise Refused("no answer")
        if self._refusal:
            self.client.loop_stop()
            raise Refused(self._refusal)
        return self

    def knock(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> str:
        """What the broker, or TLS of this version, says to a CONNECT packet: paho does not tell an alert.

        With TLS 1.3 the handshake is over before the broker has looked at the certificate: its alert may be
        lost, because we have sent more by then.
        """
        texts = [self.client_id, *(text for text in (self.username, self.password) if text is not None)]
        flags = 0x02 | (0x80 if self.username is not None else 0) | (0x40 if self.password is not None else 0)
        fields = b"".join(len(text).to_bytes(2, "big") + text.encode() for text in texts)
        body = b"\x00\x04MQTT\x05" + bytes([flags, 0, 60, 0]) + fields
        assert len(body) < 128, "one byte of length is enough"
        if self.tls is not None:
            self.tls.minimum_version = self.tls.maximum_version = version
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as plain,
                plain
                if self.tls is None
                else self.tls.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
            ):
                connection.sendall(b"\x10" + bytes([len(body)]) + body)
                answer = connection.recv(4)
        except OSError as error:
            return str(error)
        return f"CONNACK {answer[3]:#x}" if answer[:1] == b"\x20" else "no MQTT"

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def drop(self) -> None:
        """End the connection as a power cut does, without a word."""
        opened = self.client.socket()
        assert opened is not None
        opened.shutdown(socket.SHUT_RDWR)
        self.lost.wait(PATIENCE_S)
        self.client.loop_stop()

    def wait_for(self, *payloads: bytes) -> None:
        """Return when messages with all these payloads have come."""
        self.wait_until(lambda: {heard[2] for heard in self.heard} >= set(payloads))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return when what was heard makes this true."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S), f"heard only {self.heard}"

    def publish(self, topics: Iterable[str], payload: bytes, *, retain: bool = False) -> dict[str, bool]:
        """Publish to each topic; whether the broker says that it took it."""
        topics = list(topics)
        mids = [self.client.publish(topic, payload, qos=1, retain=retain).mid for topic in topics]
        answers = [self._wait_for(mid) for mid in mids]
        return {topic: code != NOT_AUTHORIZED for topic, code in zip(topics, answers, strict=True)}

    def is_shut_out(self, topic: str) -> bool:
        """Whether the connection is ended, or nothing more is taken from it; tried until it is so."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not self.lost.is_set() and time.monotonic() < deadline_s:
            mid = self.client.publish(topic, b"x", qos=1).mid
            with self._changed:
                self._changed.wait_for(lambda mid=mid: mid in self._answers or self.lost.is_set(), PATIENCE_S)
                if self._answers.pop(mid, 0) == NOT_AUTHORIZED:
                    return True
        return self.lost.is_set()

    def subscribe(self, filters: Sequence[str]) -> None:
        """Subscribe, and return when all that lay at the broker for these filters has come."""
        for each in filters:
            self.client.subscribe(each, qos=0)
        self.catch_up()

    def catch_up(self) -> None:
        """Return when all that the broker has sent so far has come: at QoS 0 an answer comes in order."""
        _, mid = self.client.subscribe(f"nothing/{next(_numbers)}", qos=0)
        assert mid is not None
        self._wait_for(mid)

    def _wait_for(self, mid: int) -> int:
        with self._changed:
            came = self._changed.wait_for(lambda: mid in self._answers or self.lost.is_set(), PATIENCE_S)
            assert came, "the broker does not answer"
            assert mid in self._answers, "the broker has ended the connection"
            return self._answers.pop(mid)

    def _answer(self, mid: int, code: int) -> None:
        with self._changed:
            self._answers[mid] = code
            self._changed.notify_all()

    def _on_connect(self, _client: object, _data: object, flags: object, code: object, _p: object) -> None:
        self._refusal = str(code) if code.is_failure else ""  # type: ignore[attr-defined]
        self.session_present = bool(flags.session_present)  # type: ignore[attr-defined]
        self._up.set()

    def _on_disconnect(
        self, _client: object, _data: object, _flags: object, code: object, _p: object
    ) -> None:
        with self._changed:
            if not self._up.is_set():  # with TLS 1.3 a client hears of its refusal only now
                self._refusal = str(code) or "the connection was ended"
            self.lost.set()
            self._up.set()
            self._changed.notify_all()

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self.heard.add((message.topic, message.retain, message.payload))
            self._changed.notify_all()


def tls(ca: Path, identity: Path | None = None) -> ssl.SSLContext:
    """Trust this authority, and show this certificate."""
    context = ssl.create_default_context(cafile=str(ca))
    if identity is not None:
        context.load_cert_chain(identity)
    return context


@dataclass(frozen=True)
class Seen:
    """What became of one role's attempts, by topic."""

    written: frozenset[str]
    """Messages that the spy heard of it."""
    retained: frozenset[str]
    """Those that then lay at the broker."""
    acknowledged: frozenset[str]
    """Those that the broker said it had taken."""
    read: frozenset[str]
    """Live messages that it heard."""
    found: frozenset[str]
    """Retained messages that it was given."""


def probe(
    spy: Member, roles: dict[str, Member], topics: Sequence[str], more: Sequence[str]
) -> dict[str, Seen]:
    """Let every role read and write every topic.

    Args:
        spy: connected, and may do everything but what the broker itself says.
        roles: connected.
        topics: what the spy can publish to.
        more: what else is subscribed and published to: wildcards are only subscribed to.
    """
    filters = [*topics, *more]
    spy.publish(topics, b"kept", retain=True)
    for member in roles.values():
        member.subscribe(filters)
    found = {name: _take(member) for name, member in roles.items()}
    spy.publish(topics, b"live")
    for member in roles.values():
        member.catch_up()
    read = {name: _take(member) for name, member in roles.items()}
    for member in roles.values():
        member.client.unsubscribe(filters)
        member.catch_up()
    attempts = [*topics, *(topic for topic in more if "#" not in topic and "+" not in topic)]
    spy.subscribe(["#"])
    seen = {}
    for name, member in roles.items():
        _take(spy)
        acknowledged = member.publish(attempts, name.encode())
        spy.catch_up()
        written = _take(spy)
        assert member.publish(attempts, name.encode(), retain=True) == acknowledged
        spy.catch_up()
        _take(spy)
        spy.subscribe(["#"])  # again: what lies at the broker comes once more
        retained = _take(spy)
        seen[name] = Seen(
            written=frozenset(topic for topic, _, payload in written if payload == name.encode()),
            retained=frozenset(topic for topic, lay, payload in retained if lay and payload == name.encode()),
            acknowledged=frozenset(topic for topic, taken in acknowledged.items() if taken),
            read=frozenset(topic for topic, lay, _ in read[name] if not lay),
            found=frozenset(topic for topic, lay, _ in found[name] if lay),
        )
    return seen


def _take(member: Member) -> set[tuple[str, bool, bytes]]:
    heard, member.heard = member.heard, set()
    return heard
