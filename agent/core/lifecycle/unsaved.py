"""Decides what a device does when its disk fails in an effect: what is given up, and what follows."""

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Device
from fedge.data.disclosure import public
from fedge.wire.reasons import Reason

Retreat = tuple[Device, on.Event | None]
"""The state to continue from, and the event to handle first; None: there is none."""


def give_up(former: Device, state: Device, effect: do.Effect, error: str, now_s: float) -> Retreat | None:
    """Decide what follows from an effect in which the disk failed.

    A fact that is not durable must not be visible (law 4), so the effects after it are not performed. The
    newest attempt seen is an exception: a device that could not even decline would keep its fleet waiting.

    Args:
        former: the state before the step that returned the effect.
        state: the state after it.
        effect: the effect that failed.
        error: the error, for the device's own log.
        now_s: monotonic seconds.

    Returns:
        How to continue without the effects after it; None: perform them.
    """
    match effect:
        case do.SaveSigners():
            # After a restart the device would believe the former key again. So it does not change the key.
            return former, on.SignersUnsaved()
        case do.SaveUpdate(attempt=attempt, round=older):
            unsaved = public("the update cannot be written to this device's disk")
            return state, on.Failed(older or attempt.round, Reason.FAILED, error, unsaved)
        case do.SaveVerdict() if former.saved is not None and former.saved.pending:
            # The next work would begin with the former state. So the device asks for the verdict again.
            return former, None
        case do.ResetState() | do.StartWork():
            unread = public("the algorithm's state cannot be read or reset on this device's disk")
            return state, on.Failed(state.seen.round, Reason.FAILED, error, unread)
        case do.UseModel():
            return state, on.UseFailed(former.used)
        case do.KeepModel():
            return state, on.KeepFailed(now_s)
    return None
