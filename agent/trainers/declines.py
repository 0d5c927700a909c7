"""The reasons why a round's work failed, for the owner's log and for the federation."""

import logging

from agent.core.events import Failed
from agent.data.extremes import Extremes
from agent.data.unfit import Unfit
from agent.trainers.time_limit import TooLong
from fedge.algorithms.trainer import Diverged
from fedge.data.disclosure import public
from fedge.errors import DataError
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason

log = logging.getLogger(__name__)


def declined(round_id: RoundId, error: Exception, extremes: Extremes | None) -> Failed:
    """Return the reason to decline with after an error.

    Args:
        round_id: the round whose work failed.
        error: the exception that was raised.
        extremes: the inputs that lie far outside the range that the fleet has measured.
    """
    match error:
        case Unfit():
            return Failed(round_id, error.reason, str(error), error.public)
        case DataError():
            return Failed(round_id, Reason.BAD_DATA, str(error), error.public)
        case Diverged():
            return _diverged(round_id, error, extremes)
        case TooLong():
            return Failed(round_id, Reason.TOO_LONG, str(error), error.public)
        case MemoryError():
            told = public("not enough memory for this model and its data")
            return Failed(round_id, Reason.FAILED, told, told)
        case _:
            return unforeseen(round_id, error)


def unforeseen(round_id: RoundId, error: BaseException) -> Failed:
    """Decline because of an unexpected error. Its text may quote data, so it stays in the log."""
    log.error("round %s: the worker failed", round_id, exc_info=error)
    return Failed(round_id, Reason.FAILED, f"the worker failed: {type(error).__name__}")


def _diverged(round_id: RoundId, error: Diverged, extremes: Extremes | None) -> Failed:
    """After a divergence, point to inputs far outside the fleet's range first, and to the learning rate
    second."""
    if extremes is None:
        return Failed(round_id, Reason.TRAINING_DIVERGED, str(error), error.public)
    told = public("{what}, and {extremes}", what=error.what, extremes=extremes.told)
    first = extremes.columns[0]
    full = f"{told} ({first.place} is {first.distance:,.0f} away)"
    return Failed(round_id, Reason.TRAINING_DIVERGED, full, told)
