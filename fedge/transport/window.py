"""The window of unacknowledged publications: their number and bytes, their order, the largest packet. Pure.

There are three kinds of messages. Batches go first, in their order. Bulk batches (frames of large messages)
go in their order when no other batch waits, and only while few bytes are unacknowledged. So a batch never
waits behind more than `IN_FLIGHT_BYTES` and one packet, however slow the line is. A reply goes when no batch
waits; between the frames of bulk batches one reply goes after each frame.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fedge.transport.events import PACED, RECEIVE_MAXIMUM, Answered, Publication, Sent
from fedge.transport.pace import Pace
from fedge.transport.packets import LARGEST_PACKET, packet_bytes, payload_room
from fedge.wire.encoding import MAX_PAYLOAD

WINDOW = 16
"""The most unacknowledged publications, if the broker allows as many: Mosquitto stops a client at 20."""
IN_FLIGHT_BYTES = MAX_PAYLOAD
"""No frame of a bulk batch is sent while so many bytes are unacknowledged. So at most two of the largest
frames are under way, which a line of 1 Mbit/s carries in 2 s, and one of 5 MB/s and 50 ms fills."""
MOST_REPLIES = 4_096
"""The largest number of waiting replies."""


@dataclass(frozen=True)
class Limits:
    """What may be sent on a connection."""

    max_packet: int = LARGEST_PACKET
    """The largest packet that the broker takes, in bytes: its Maximum Packet Size."""
    receive_maximum: int = RECEIVE_MAXIMUM
    """The most unacknowledged publications that the broker takes: its Receive Maximum."""
    max_payload: int = MAX_PAYLOAD
    """The largest payload, in bytes, by our own settings."""

    def room(self, topic: str, *, expires: bool = False) -> int:
        """The most bytes of a payload on a topic."""
        return min(self.max_payload, payload_room(topic, self.max_packet, expires=expires))


@dataclass(eq=False)
class _Batch:
    """The publications of one `send`, pulled one by one, so that a big model is never queued twice."""

    pieces: Iterator[Publication]
    token: object
    open: int = 0
    exhausted: bool = False
    refusal: str | None = None


class Window:
    """The messages of one connection that wait to be sent, or are sent and not answered.

    Args:
        publish: sends one publication and returns its `mid`.
        tell: called with each `Sent`.
        limits: what the broker and our settings allow.
        pace: spaces the publications in time; None: they go as soon as there is room.
    """

    def __init__(
        self,
        publish: Callable[[Publication], int],
        tell: Callable[[Sent], None],
        limits: Limits,
        pace: Pace | None = None,
    ) -> None:
        self._pace = pace
        self._publish = publish
        self._tell = tell
        self._limits = limits
        self._most = min(WINDOW, limits.receive_maximum)
        self._batches: deque[_Batch] = deque()
        self._bulk: deque[_Batch] = deque()
        self._replies: OrderedDict[str, Publication] = OrderedDict()
        """By topic; the one that has waited longest comes first."""
        self._replies_turn = True
        """Whether a reply goes before the next frame of a bulk batch."""
        self._under_way: dict[int, tuple[_Batch, int]] = {}
        """The batch and the bytes of each publication that is not answered."""
        self._bytes = 0
        """The bytes of all of them."""

    @property
    def full(self) -> bool:
        """Whether no further publication may be sent before an answer."""
        return len(self._under_way) >= self._most

    def send(self, publications: Iterable[Publication], token: object, *, bulk: bool = False) -> None:
        """As `Transport.send`."""
        (self._bulk if bulk else self._batches).append(_Batch(iter(publications), token))
        self._pump()

    def reply(self, publication: Publication) -> None:
        """As `Transport.reply`."""
        if publication.topic in self._replies or len(self._replies) < MOST_REPLIES:
            self._replies[publication.topic] = publication
            self._pump()

    def settle(self, answer: Answered) -> None:
        """Account for a broker's answer to a publication, and send what waited for it."""
        if answer == PACED and self._pace is not None:
            self._pace.woke()
            self._pump()
            return
        batch, size = self._under_way.pop(answer.mid, (None, 0))
        if batch is None:  # an answer to something sent on an earlier connection
            return
        self._bytes -= size
        batch.open -= 1
        if answer.refusal:
            batch.refusal = answer.refusal
        self._finish(batch)
        self._pump()

    def _pump(self) -> None:
        while not self.full and (queue := self._next()) is not None:
            batch = queue[0]
            piece = None if batch.refusal else next(batch.pieces, None)
            if piece is None:
                queue.popleft()
                batch.exhausted = True
                self._finish(batch)
                continue
            size = packet_bytes(piece.topic, len(piece.payload), expires=piece.expiry_s is not None)
            if (refusal := self._too_large(piece, size)) is not None:
                batch.refusal = refusal
                continue
            if self._pace is not None:
                self._pace.spend(size)
            mid = self._publish(piece)
            batch.open += 1
            self._under_way[mid] = batch, size
            self._bytes += size

    def _next(self) -> deque[_Batch] | None:
        """The queue whose first batch is sent from now; None: nothing may be sent."""
        if not (self._batches or self._bulk or self._replies):
            return None
        if self._pace is not None and not self._pace.ready():
            return None
        if self._batches:
            return self._batches
        bulk = bool(self._bulk) and self._bytes < IN_FLIGHT_BYTES
        if self._replies and (self._replies_turn or not bulk):
            _, reply = self._replies.popitem(last=False)
            self._batches.append(_Batch(iter([reply]), None))
            self._replies_turn = False
            return self._batches
        self._replies_turn = True
        return self._bulk if bulk else None

    def _too_large(self, piece: Publication, size: int) -> str | None:
        """Why a publication is not sent: the broker would close the connection at each attempt."""
        if size > (most := self._limits.max_packet):
            return (
                f"{piece.topic}: a packet of {size} bytes is over the broker's limit of {most}: raise its "
                "maximum packet size"
            )
        if len(piece.payload) > (most := self._limits.max_payload):
            return (
                f"{piece.topic}: a payload of {len(piece.payload)} bytes is over [broker] max_payload_bytes "
                f"= {most}: raise it, if the broker takes more"
            )
        return None

    def _finish(self, batch: _Batch) -> None:
        if batch.exhausted and batch.open == 0 and (batch.token is not None or batch.refusal):
            self._tell(Sent(batch.token, batch.refusal))
