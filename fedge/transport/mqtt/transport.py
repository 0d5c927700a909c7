"""`Transport` over MQTT 5: a thread that connects and reconnects, and the account of outgoing messages."""

import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from threading import Event, Thread, Timer

from fedge.service.liveness import Pulse
from fedge.service.settings import BrokerSettings
from fedge.transport.backoff import Backoff
from fedge.transport.events import PACED, Answered, LinkDown, LinkEvent, LinkUp, MessageArrived, Publication
from fedge.transport.mqtt.connection import Options, PahoConnection
from fedge.transport.mqtt.tls import tls_context
from fedge.transport.outbound import Outbound
from fedge.transport.pace import Pace
from fedge.transport.protocol import Traffic

log = logging.getLogger(__name__)

LONGEST_TURN_S, LONGEST_ATTEMPT_S = 30.0, 300.0
"""The longest time between two signs of life of the network thread. paho's loop turns once a second, but an
attempt to connect may wait for the name, for TCP and for TLS in turn."""
LAST_WORDS_PART = 0.8
"""The share of `close`'s time limit for the acknowledgement of the offline status; the rest is for the
end."""


@dataclass(eq=False)
class _Life:
    """The time from one `open` to its `close`; a thread that outlasts it cannot affect a later one."""

    closed: Event = field(default_factory=Event)
    newest: PahoConnection | None = None
    """The newest connection, set by the network thread; `_outbound` has the one whose `LinkUp` was
    handled."""
    thread: Thread | None = None


@dataclass(eq=False)
class MqttTransport:
    """One client of one broker.

    The network thread only puts values into the inbox. Everything else here is called by the one thread that
    empties the inbox, so there are no locks.

    Args:
        broker: address, credentials and keep-alive.
        client_id: stable identity at the broker.
        inbox: called with each `LinkEvent`, from the network thread too; must only enqueue.
        will: returns the last will for the n-th connection.
        keep_session_s: ask the broker to keep our session for this many seconds; 0: start clean each time.
        manual_ack: acknowledge with `acknowledge` once handled, instead of on arrival.

    Raises:
        ConfigError: the password or a TLS file cannot be used; the text names it.
    """

    broker: BrokerSettings
    client_id: str
    inbox: Callable[[LinkEvent], None]
    will: Callable[[int], Publication] | None = None
    keep_session_s: int = 0
    manual_ack: bool = False
    spread_s: float = 0.0
    traffic: Traffic = field(default_factory=Traffic)
    pulse: Pulse = field(default_factory=lambda: Pulse("the network thread"))
    """The sign of life of the network thread while the transport is open."""
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))
    """The numbers of connections, over all lives."""
    _life: _Life = field(default_factory=_Life)

    def __post_init__(self) -> None:
        self._outbound = Outbound(self.inbox, self.broker.max_payload_bytes, self._pace())
        # Reading the files here reports unusable ones at the start. Each connection reads them again, so that
        # a renewed certificate is used from the next connection on.
        _ = self.broker.password
        if self.broker.tls:
            tls_context(self.broker)

    @property
    def up(self) -> bool:
        """As `Transport.up`."""
        return self._outbound.connection is not None

    def _pace(self) -> Pace | None:
        most, most_bytes = self.broker.publishes_per_s, self.broker.bytes_per_s
        if most is None and most_bytes is None:
            return None
        return Pace(most, most_bytes, time.monotonic, self._wake)

    def _wake(self, after_s: float) -> None:
        timer = Timer(after_s, self.inbox, (PACED,))
        timer.daemon = True
        timer.start()

    # ── called by the thread that empties the inbox ────────────────────────────────────────────────

    def open(self) -> None:
        """As `Transport.open`."""
        life = self._life = _Life()
        life.thread = Thread(target=self._stay_connected, args=(life,), name="link", daemon=True)
        life.thread.start()

    def close(self, offline_status: Publication | None = None, *, timeout_s: float = 1.0) -> None:
        """As `Transport.close`; if the broker hangs, the network thread is left to end by itself."""
        deadline_s = time.monotonic() + timeout_s
        life, newest = self._life, self._life.newest
        speaks = offline_status is not None and newest is not None and newest is self._outbound.connection
        by_will = speaks and self._outbound.full  # one more publication would be over the Receive Maximum
        if newest is not None and offline_status is not None and speaks and not by_will:
            newest.publish_last(offline_status, timeout_s * LAST_WORDS_PART)
        life.closed.set()
        self._outbound.end()
        if life.newest is not None:
            life.newest.disconnect(by_will=by_will)
        if life.thread is not None:
            life.thread.join(max(0.0, deadline_s - time.monotonic()))
        self.pulse.rest()

    def handle(self, event: LinkEvent) -> None:
        """As `Transport.handle`."""
        match event:
            case LinkUp():
                # It may have ended by now, or the transport be closed: then nothing is sent on it.
                newest, closed = self._life.newest, self._life.closed
                here = newest is not None and newest.number == event.connection and not closed.is_set()
                self._outbound.begin(newest if here else None, event)
            case LinkDown():
                self._outbound.end()
            case Answered():
                if filters := self._outbound.settle(event):
                    log.error(
                        "the broker refuses the subscription to %s: %s", ", ".join(filters), event.refusal
                    )
            case _:
                pass

    def room(self, topic: str) -> int:
        """As `Transport.room`."""
        return self._outbound.room(topic)

    def send(self, publications: Iterable[Publication], token: object = None, *, bulk: bool = False) -> None:
        """As `Transport.send`."""
        self._outbound.send(publications, token, bulk=bulk)

    def reply(self, publication: Publication) -> None:
        """As `Transport.reply`."""
        self._outbound.reply(publication)

    def subscribe(self, *filters: str) -> None:
        """As `Transport.subscribe`."""
        self._outbound.subscribe(*filters)

    def unsubscribe(self, *filters: str) -> None:
        """As `Transport.unsubscribe`."""
        self._outbound.unsubscribe(*filters)

    def acknowledge(self, message: MessageArrived) -> None:
        """As `Transport.acknowledge`."""
        self._outbound.acknowledge(message)

    # ── the network thread ─────────────────────────────────────────────────────────────────────────

    def _stay_connected(self, life: _Life) -> None:
        closed = life.closed
        options = Options(self.broker, self.client_id, self.will, self.keep_session_s, self.manual_ack)
        backoff = Backoff()
        why: str | None = None
        """Why the broker does not answer, as far as it could be found out."""

        def attempt(question: str | None = None) -> tuple[PahoConnection, LinkDown]:
            self._promise(closed, LONGEST_ATTEMPT_S)
            connection = life.newest = PahoConnection(
                options,
                next(self._numbers),
                closed,
                self.inbox,
                lambda: self._promise(closed, LONGEST_TURN_S),
                self.traffic,
                question,
            )
            return connection, connection.run()

        while not closed.is_set():
            connection, down = attempt()
            if connection.unanswered and self.will is not None and not closed.is_set():
                # A broker closes the connection of a CONNECT that is too large for it without a word.
                if why is None:
                    why = attempt(down.reason)[1].reason
                down = replace(down, reason=why)
            else:
                why = None
            if closed.is_set():
                return
            self.inbox(down)
            draw = random.random()  # noqa: S311 # jitter, not a secret
            wait_s = backoff.pause_s(connection.lasted_s, self.spread_s, draw)
            self._promise(closed, wait_s + LONGEST_TURN_S)
            closed.wait(wait_s)

    def _promise(self, closed: Event, seconds: float) -> None:
        """Promise for the network thread, unless `closed` is set."""
        if not closed.is_set():
            self.pulse.within(seconds)
