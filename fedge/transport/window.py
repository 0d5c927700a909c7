"""The window of unacknowledged publications: its size, their order, and the largest packet. Pure.

Batches go first, in their order; replies go when nothing else waits.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from fedge.transport.events import Answered, Publication, Sent

WINDOW = 16
"""The most unacknowledged publications: Mosquitto stops a client at 20."""
MOST_REPLIES = 4_096
"""The largest number of waiting replies."""
PACKET_OVERHEAD = 64
"""Bytes of a PUBLISH beyond topic and payload: fixed header, packet id, properties (MQTT 5, section 3.3)."""


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
        max_packet: the largest packet that the broker takes, in bytes.
    """

    def __init__(
        self, publish: Callable[[Publication], int], tell: Callable[[Sent], None], max_packet: int
    ) -> None:
        self._publish = publish
        self._tell = tell
        self._max_packet = max_packet
        self._batches: deque[_Batch] = deque()
        self._replies: OrderedDict[str, Publication] = OrderedDict()
        """By topic; the one that has waited longest comes first."""
        self._under_way: dict[int, _Batch] = {}

    def send(self, publications: Iterable[Publication], token: object) -> None:
        """As `Transport.send`."""
        self._batches.append(_Batch(iter(publications), token))
        self._pump()

    def reply(self, publication: Publication) -> None:
        """As `Transport.reply`."""
        if publication.topic in self._replies or len(self._replies) < MOST_REPLIES:
            self._replies[publication.topic] = publication
            self._pump()

    def settle(self, answer: Answered) -> None:
        """Account for a broker's answer to a publication, and send what waited for it."""
        batch = self._under_way.pop(answer.mid, None)
        if batch is None:  # an answer to something sent on an earlier connection
            return
        batch.open -= 1
        if answer.refusal:
            batch.refusal = answer.refusal
        self._finish(batch)
        self._pump()

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
            if size > self._max_packet:  # the broker would close the connection at each attempt
                batch.refusal = (
                    f"{piece.topic}: a packet of {size} bytes is over the broker's limit of "
                    f"{self._max_packet}: raise its maximum packet size"
                )
                continue
            mid = self._publish(piece)
            batch.open += 1
            self._under_way[mid] = batch

    def _finish(self, batch: _Batch) -> None:
        if batch.exhausted and batch.open == 0 and (batch.token is not None or batch.refusal):
            self._tell(Sent(batch.token, batch.refusal))
