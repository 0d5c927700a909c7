"""Outgoing messages on the current connection; nothing is sent without one. Pure.

Every transport uses the same accounting: a `Window` of publications, the unanswered subscriptions, and which
messages can still be acknowledged. Transports differ only in how a packet reaches the broker.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from fedge.transport.events import PACED, Answered, LinkUp, MessageArrived, Publication, Sent
from fedge.transport.pace import Pace
from fedge.transport.protocol import Connection
from fedge.transport.window import Limits, Window
from fedge.wire.encoding import MAX_PAYLOAD


class Outbound:
    """The part of `Transport` that sends.

    Args:
        tell: called with each `Sent`, on the thread that calls the methods.
        max_payload: the largest payload by our settings, in bytes.
        pace: spaces the publications in time, if our settings say so.
    """

    def __init__(
        self, tell: Callable[[Sent], None], max_payload: int = MAX_PAYLOAD, pace: Pace | None = None
    ) -> None:
        self._tell, self._pace = tell, pace
        self._limits = self._ours = Limits(max_payload=max_payload)
        self._connection: Connection | None = None
        self._window: Window | None = None
        self._filters: dict[int, tuple[str, ...]] = {}
        """Subscriptions that are not answered yet."""

    @property
    def connection(self) -> Connection | None:
        """The connection whose `LinkUp` has been handled; None while the transport is down."""
        return self._connection

    def room(self, topic: str) -> int:
        """As `Transport.room`."""
        return self._limits.room(topic)

    @property
    def full(self) -> bool:
        """Whether the broker has as many unacknowledged publications as it takes."""
        return self._window is not None and self._window.full

    def begin(self, connection: Connection | None, up: LinkUp) -> None:
        """Begin to use a connection as its `LinkUp` says; None: it has ended already."""
        self.end()
        if connection is not None:
            self._connection = connection
            self._limits = replace(self._ours, max_packet=up.max_packet, receive_maximum=up.receive_maximum)
            self._window = Window(connection.publish, self._tell, self._limits, self._pace)

    def end(self) -> None:
        """Forget the connection and its unanswered messages."""
        self._connection = self._window = None
        self._limits = self._ours
        self._filters.clear()

    def send(self, publications: Iterable[Publication], token: object = None, *, bulk: bool = False) -> None:
        """As `Transport.send`."""
        if self._window is not None:
            self._window.send(publications, token, bulk=bulk)

    def reply(self, publication: Publication) -> None:
        """As `Transport.reply`."""
        if self._window is not None:
            self._window.reply(publication)

    def settle(self, answer: Answered) -> tuple[str, ...]:
        """Account for a broker's answer; return the filters that it refuses, if it answers a subscription."""
        if answer.subscription:
            filters = self._filters.pop(answer.mid, ())
            return filters if answer.refusal else ()
        if self._window is not None:
            self._window.settle(answer)
        elif answer == PACED and self._pace is not None:
            self._pace.woke()  # the next connection goes on with this pace, and needs a timer of its own
        return ()

    def subscribe(self, *filters: str) -> None:
        """As `Transport.subscribe`."""
        if self._connection is not None and filters:
            mid = self._connection.subscribe(filters)
            if mid is not None:
                self._filters[mid] = filters

    def unsubscribe(self, *filters: str) -> None:
        """As `Transport.unsubscribe`."""
        if self._connection is not None and filters:
            self._connection.unsubscribe(filters)

    def acknowledge(self, message: MessageArrived) -> None:
        """As `Transport.acknowledge`."""
        if self._connection is not None and message.connection == self._connection.number:
            self._connection.acknowledge(message)
