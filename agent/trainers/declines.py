"""Why a round's work could not be done, for the owner's log and for the federation."""

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
    """The reason to give for an error.

    Args:
        round_id: of the round whose work it ended.
        error: what was raised.
        extremes: what of the data lies far outside of what the fleet has measured.
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
    """Decline for what nobody has foreseen. Its own text may hold anything, so it stays in the log."""
    log.error("round %s: the worker failed", round_id, exc_info=error)
    return Failed(round_id, Reason.FAILED, f"the worker failed: {type(error).__name__}")


def _diverged(round_id: RoundId, error: Diverged, extremes: Extremes | None) -> Failed:
    """Where inputs lie far outside they are the first to look at, and only then the learning rate."""
    if extremes is None:
        return Failed(round_id, Reason.TRAINING_DIVERGED, str(error), error.public)
    told = public("{what}, and {extremes}", what=error.what, extremes=extremes.told)
    first = extremes.columns[0]
    full = f"{told} ({first.place} is {first.distance:,.0f} away)"
    return Failed(round_id, Reason.TRAINING_DIVERGED, full, told)
