"""What a device does when its disk did not take an effect: what is given up, and what follows."""

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Device
from fedge.data.disclosure import public
from fedge.wire.reasons import Reason

Retreat = tuple[Device, on.Event | None]
"""The state to go on from, and the event that it is told first; None: nothing but the next one."""


def give_up(former: Device, state: Device, effect: do.Effect, error: str, now_s: float) -> Retreat | None:
    """Decide what follows from an effect that the disk did not take.

    What is not durable must not be seen (law 4), so the effects after it are not performed. Only the newest
    round is not held to that: a device that could not even decline would keep its fleet waiting.

    Args:
        former: the state before the step that asked for the effect.
        state: the one after it.
        effect: what failed.
        error: why, for the device's own log.
        now_s: monotonic seconds.

    Returns:
        How to go on without the effects after it; None: perform them.
    """
    match effect:
        case do.SaveSigners():
            # A restart would believe the key before again, so this device never changed it.
            return former, on.SignersUnsaved()
        case do.SaveUpdate(attempt=attempt):
            unsaved = public("what was learnt cannot be written to this device's disk")
            return state, on.Failed(attempt.round, Reason.FAILED, error, unsaved)
        case do.SaveVerdict() if former.saved is not None and former.saved.pending:
            # The next work would begin with the state before: the answer is asked for again.
            return former, None
        case do.ResetState() | do.StartWork():
            unread = public("what the algorithm remembers cannot be used on this device's disk")
            return state, on.Failed(state.seen.round, Reason.FAILED, error, unread)
        case do.UseModel():
            return state, on.UseFailed(former.used)
        case do.KeepModel():
            return state, on.KeepFailed(now_s)
    return None
