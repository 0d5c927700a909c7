"""Tell which devices cannot train from a model because its weights are too large for float32.

A liar can make such a model in a first round of fewer than five updates, in which nothing bounds it yet
(docs/security.md). The model passes the aggregator's probes, and its loss is not finite on samples that lie
farther out than these.
"""

from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.status import Decline
from fedge.wire.reasons import Reason
from fleet.simulator.books import Book
from fleet.simulator.oracle.record import Record

LARGE = 1e36
"""The absolute value from which a weight may make training overflow float32, whose largest number is 3.4e38.
A layer's output is a weight times an input, plus a bias, and the loss is a difference of two outputs. With
weights below this one it is finite for inputs up to 169 standard deviations from the mean:
2 · (169 + 1) · 1e36 = 3.4e38."""


def overflows(record: Record, book: Book, round_id: RoundId) -> bool:
    """Whether a round begins with a model from which training may overflow."""
    model = book.closed.get(round_id._replace(round=round_id.round - 1))
    if model is None:
        return False
    return any(abs(w) > LARGE for vector in record.vectors[model].values() for w in vector)


def refused(record: Record, book: Book, round_id: RoundId, device: str) -> bool:
    """Whether a device's update for a round with such a model was refused, because it is far from it."""
    if not overflows(record, book, round_id):
        return False
    return any(
        Reason.TOO_FAR in reasons and digest in record.made and record.made[digest].round == round_id
        for (said, digest), reasons in record.reasons.items()
        if said == device
    )


def cannot_train(record: Record, book: Book, declined: Decline) -> bool:
    """Whether a device declines because training diverges, in a round with such a model."""
    return declined.reason is Reason.TRAINING_DIVERGED and overflows(record, book, round_of(declined))
