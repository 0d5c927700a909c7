"""A virtual MQTT 5 broker: sessions, retained messages, wills, and how they are lost.

It gives the guarantees of MQTT 5 and no more: QoS 1 at least once, order on each topic, acknowledgements only
on the connection on which the message arrived, at most `RECEIVE_MAXIMUM` unacknowledged messages, and finite
queues.
"""

import math
from collections.abc import Callable

from fedge.transport import Publication
from fedge.wire.encoding import MAX_PAYLOAD
from fleet.simulator.sessions import BrokerDisk, Line, Message, Session

RECEIVE_MAXIMUM = 20
"""Mosquitto's value: further messages wait until earlier ones are acknowledged (MQTT 5, section 4.9)."""


class Broker:
    """The broker; `now_s` is its clock, `after` schedules an action, `heard` gets every publication."""

    def __init__(
        self,
        now_s: Callable[[], float],
        after: Callable[[float, Callable[[], None]], None],
        heard: Callable[[Message], None],
        queue_limit: int,
    ) -> None:
        self.up = True
        self.up_since_s = 0.0
        self.retained: dict[str, Message] = {}
        self.sessions: dict[str, Session] = {}
        self.takes = MAX_PAYLOAD
        """The most bytes of data in a frame. Other messages have no limit: they are as large in a world as
        in production, and contents are not."""
        self.will_delay_s = 0.0
        """Delay of wills, even of clients that have come back meanwhile (the nodes of a cluster disagree)."""
        self.says_twice: Callable[[], bool] = lambda: False
        self._now_s, self._after, self._heard = now_s, after, heard
        self._queue_limit = queue_limit
        self.wills_to_come = 0
        """Number of delayed wills that are not yet published."""
        self._matches: dict[tuple[str, str], bool] = {}
        self._hears: dict[tuple[str, ...], dict[str, bool]] = {}

    # ── start and end ───────────────────────────────────────────────────────────────────────────────

    def save(self) -> BrokerDisk:
        """The content of its disk at this moment."""
        sessions = {name: session.saved() for name, session in self.sessions.items() if session.keep_s}
        return BrokerDisk(dict(self.retained), sessions)

    def stop(self) -> None:
        """Stop at once, without publishing a will."""
        self.up = False
        for session in self.sessions.values():
            if session.line is not None:
                session.will = None
                session.line.end(taken_over=False)
                session.line = None

    def start(self, disk: BrokerDisk | None) -> None:
        """Start again with the content of this disk; None: an empty one."""
        disk = disk or BrokerDisk({}, {})
        self.up, self.up_since_s = True, self._now_s()
        self.retained, self.sessions = dict(disk.retained), dict(disk.sessions)
        for session in self.sessions.values():
            session.ends_s = self._now_s() + session.keep_s
            self._filters_changed(session)

    # ── packets from clients ────────────────────────────────────────────────────────────────────────────

    def connect(self, line: Line, client: str, keep_s: int, will: Publication | None) -> bool:
        """Accept a client, which takes over its client id; returns session_present."""
        session = self.sessions.get(client)
        if session is not None and session.line is not None:
            session.line.end(taken_over=True)
            self._gone(session)
        session = self.sessions.get(client)
        present = session is not None and keep_s > 0 and self._now_s() < session.ends_s
        if session is None or not present:
            session = self.sessions[client] = Session(client, keep_s)
        session.line, session.will, session.keep_s = line, will, keep_s
        unacknowledged, session.under_way = list(session.under_way.values()), {}
        session.waiting.extendleft(reversed(unacknowledged))
        return present

    def accepted(self, line: Line) -> None:
        """Send the waiting messages after the CONNACK."""
        if (session := self._session(line)) is not None:
            self._pump(session)

    def publish(self, line: Line, mid: int, piece: Publication) -> None:
        """Take a publication, and acknowledge it."""
        if self._session(line) is not None:
            self._publish(piece)
            line.answer(mid, subscription=False)

    def subscribe(self, line: Line, mid: int, filters: list[str]) -> None:
        """Subscribe, and send the retained messages."""
        session = self._session(line)
        if session is None:
            return
        line.answer(mid, subscription=True)
        for topics in filters:
            session.filters[topics] = None
        self._filters_changed(session)
        for topics in filters:
            for message in list(self.retained.values()):
                if message.expires_s <= self._now_s():
                    del self.retained[message.topic]
                elif self._match(topics, message.topic):
                    self._enqueue(session, message)

    def unsubscribe(self, line: Line, filters: list[str]) -> None:
        """Remove these filters."""
        if (session := self._session(line)) is not None:
            for topics in filters:
                session.filters.pop(topics, None)
            self._filters_changed(session)

    def acknowledge(self, line: Line, mid: int) -> None:
        """Take a client's acknowledgement of a message that it got on this connection."""
        if (session := self._session(line)) is not None:
            session.under_way.pop(mid, None)
            self._pump(session)

    def leave(self, line: Line) -> None:
        """Take a client's DISCONNECT, which drops its will."""
        if (session := self._session(line)) is not None:
            session.will = None
            self._gone(session)

    def lose(self, line: Line) -> None:
        """Note that a connection ended without DISCONNECT."""
        if (session := self._session(line)) is not None:
            self._gone(session)

    # ── inside ─────────────────────────────────────────────────────────────────────────────────────

    def _session(self, line: Line) -> Session | None:
        for session in self.sessions.values():
            if session.line is line:
                return session
        return None

    def _gone(self, session: Session) -> None:
        will, session.line, session.will = session.will, None, None
        if session.keep_s:
            session.ends_s = self._now_s() + session.keep_s
        else:
            del self.sessions[session.client]
        if will is not None and self.will_delay_s:
            self.wills_to_come += 1
            self._after(self.will_delay_s, lambda: self._say_late(will))
        elif will is not None:
            self._publish(will)

    def _say_late(self, will: Publication) -> None:
        self.wills_to_come -= 1
        self._publish(will)

    def _publish(self, piece: Publication) -> None:
        if not self.up:
            return
        expires_s = math.inf if piece.expiry_s is None else self._now_s() + piece.expiry_s
        message = Message(piece.topic, piece.payload, False, expires_s)
        if piece.retain and piece.payload:
            self.retained[piece.topic] = Message(piece.topic, piece.payload, True, expires_s)
        elif piece.retain:
            self.retained.pop(piece.topic, None)
        self._heard(message)
        for session in list(self.sessions.values()):
            hears = session.hears.get(piece.topic)
            if hears is None:
                session.hears[piece.topic] = hears = self._reaches(session, piece.topic)
            if hears:
                for _ in range(1 + self.says_twice()):
                    self._enqueue(session, message)

    def _reaches(self, session: Session, topic: str) -> bool:
        return any(self._match(topics, topic) for topics in session.filters)

    def _filters_changed(self, session: Session) -> None:
        session.hears = self._hears.setdefault(tuple(session.filters), {})

    def _enqueue(self, session: Session, message: Message) -> None:
        if len(session.waiting) < self._queue_limit:  # else it is dropped silently, as brokers do
            session.waiting.append(message)
            self._pump(session)

    def _pump(self, session: Session) -> None:
        while session.line is not None and session.waiting and len(session.under_way) < RECEIVE_MAXIMUM:
            message = session.waiting.popleft()
            if message.expires_s <= self._now_s():
                continue
            session.mid += 1
            session.under_way[session.mid] = message
            session.line.deliver(session.mid, message)

    def _match(self, topics: str, topic: str) -> bool:
        found = self._matches.get((topics, topic))
        if found is None:
            wanted, levels = topics.split("/"), topic.split("/")
            pairs = zip(wanted, levels, strict=False)
            found = len(wanted) == len(levels) and all(a in ("+", b) for a, b in pairs)
            self._matches[topics, topic] = found
        return found
