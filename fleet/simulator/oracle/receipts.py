"""Check that receipts and acknowledgements confirm only what a crash cannot undo."""

from fedge.errors import ProtocolError
from fedge.transport import MessageArrived, Publication
from fedge.wire.freshness import round_of
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.receipt import Receipt
from fedge.wire.reasons import Reason
from fleet.simulator.books import Book
from fleet.simulator.fastpaths import decode
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.record import LIAR, Record, short


class Receipts:
    """Checks what an aggregator tells devices about their updates."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def says(self, book: Book, device: str, receipt: Receipt) -> None:
        """Check a receipt that the aggregator publishes."""
        self._record.receipts.setdefault((device, receipt.update), set()).add(receipt.verdict)
        if receipt.reason is not None:
            self._record.reasons.setdefault((device, receipt.update), set()).add(receipt.reason)
        if receipt.reason is Reason.WRONG_BASE:
            self._record.void.add(receipt.update)
        if receipt.verdict != "admitted" or receipt.update in book.set_aside:
            return  # published before the update was set aside, and delayed
        if book.answers.get((device, receipt.update)) != "admitted":
            raise Violation(
                Invariant.RECEIPT_WHEN_DURABLE,
                f"{device} is told that its update {short(receipt.update)} counts, but that is not saved",
            )
        promised = book.promised.setdefault(round_of(receipt), {})
        if promised.setdefault(device, receipt.update) != receipt.update:
            raise Violation(
                Invariant.ONE_UPDATE_COUNTS,
                f"{device} is told of two updates that both count in round {round_of(receipt)}",
            )
        closed = book.part.get(round_of(receipt))
        if closed is not None and device not in closed:
            raise Violation(
                Invariant.PROMISE_KEPT,
                f"{device} is told that it counts in round {round_of(receipt)}, which closed without it",
            )

    def answers(self, book: Book, piece: Publication) -> None:
        """Note an answer: the aggregator need not keep frames that it refuses or requests again."""
        address = self._record.address(piece.topic)
        if address is not None and address.kind == "receipt" and address.device is not None:
            book.answered.add((address.device, decode(piece.payload, Receipt).update))

    def acknowledges(self, book: Book, message: MessageArrived) -> None:
        """Check a PUBACK of the aggregator: it must have saved the frame, or answered the update."""
        address = self._record.address(message.topic)
        if address is None or address.kind != "update" or address.device in (None, LIAR):
            return  # frames beyond a liar's allowance are dropped
        try:
            frame = decode(message.payload, Frame)
        except ProtocolError:
            return
        key = (address.device, frame.id)
        if key in book.answers or key in book.answered:
            return
        if (*key, frame.i) not in book.spooled:
            raise Violation(
                Invariant.ACKNOWLEDGED_WHEN_DURABLE,
                f"frame {frame.i} of {address.device}'s update {short(frame.id)} is acknowledged, but is "
                "not saved",
            )
