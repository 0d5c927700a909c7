"""Frames of updates: kept until an update is whole, or answered at once. Pure."""

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.ability import lacks
from aggregator.core.buffering import is_buffered, may_follow
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.receipts import BUSY_RETRY_S, busy, receipt_of, refuse, repeat, turn_away
from aggregator.core.update_limits import max_bytes
from fedge.frozen import replace
from fedge.masking.limits import max_masking_bytes
from fedge.wire.frames import Partial, cost, is_cut_anew, offer
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.frame import Frame
from fedge.wire.reasons import Reason, Rejection

SPOOL_BYTES = 2 * 2**30
"""The largest size of incomplete updates held, of all devices together."""
MOST_NAMED = 1_000
"""The most frames that a receipt names as missing: 3 KB, so that it fits the smallest limit on payloads."""


def frame_arrived(state: Federation, event: on.FrameArrived) -> Step:
    """Keep a frame, or answer it if it repeats or asks; read the update when it is complete.

    A frame that asks about a round that is closed is never kept: the ledger alone answers it.
    """
    device, frame = event.device, event.frame
    if state.roster is not None and device not in state.roster:
        return refuse(
            state, device, frame.id, Reason.UNKNOWN_DEVICE, f"{device!r} is not in [federation] devices"
        )
    answer = state.answers.get(device)
    if answer is not None and answer.digest == frame.id:
        return repeat(state, device, answer, state.round)
    if event.verdict is not None:
        return repeat(state, device, event.verdict.answer, event.verdict.round)
    asked = round_of(frame.asks) if frame.asks is not None else None
    if asked is not None and asked < state.round:
        return _never_answered(state, event, asked)
    if device in state.quarantined:
        return turn_away(state, device, frame.id)
    if state.stage is Stage.DONE:
        return refuse(state, device, frame.id, Reason.ROUND_CLOSED, "learning is done")
    exchange = state.exchange
    if exchange is not None and answer is not None and device in exchange.terms.cohort:
        if frame.id in exchange.kept:  # it was taken
            return state, []
        most = max_masking_bytes(exchange.servers[exchange.group_of(device)].terms)
        if frame.size > most:
            detail = f"{frame.size} bytes; a message of secure aggregation has at most {most}"
            return refuse(state, device, frame.id, Reason.OVERSIZE, detail)
        return _kept(state, device, frame, do.ReadMasking)
    follows = may_follow(state, device)
    if answer is not None and is_buffered(state) and not follows:
        return busy(state, device, frame)  # it may count in the next version
    if answer is not None and not follows:
        return refuse(state, device, frame.id, Reason.ALREADY_ANSWERED, "one update counts in a round")
    unable = lacks(state, device)
    if unable != () and frame.i > 0:
        return state, []  # only the first frame is answered; a device without an answer sends it again
    if unable:
        detail = f"the round requires {', '.join(unable)}, which {device!r} cannot do; upgrade it"
        return refuse(state, device, frame.id, Reason.UNSUPPORTED, detail)
    if unable is None:
        return busy(state, device, frame, Reason.UNSUPPORTED)
    if frame.size > (most := max_bytes(state)):
        detail = f"{frame.size} bytes; an update of this task has at most {most}"
        return refuse(state, device, frame.id, Reason.OVERSIZE, detail)

    held = state.partials.get(device)
    if state.stage is Stage.CLOSING and (held is None or held.id != frame.id):
        return busy(state, device, frame)  # its update comes too late for this model
    return _kept(state, device, frame, do.ReadUpdate)


def _kept(
    state: Federation, device: str, frame: Frame, read: type[do.ReadUpdate] | type[do.ReadMasking]
) -> Step:
    """Keep a frame; have the message read when it is complete."""
    held = state.partials.get(device)
    effects: list[do.Effect] = []
    if held is not None and held.id != frame.id:  # a device has one update at a time: the newer one
        effects.append(do.DropSpool(device, held.id))
        state = _without_partial(state, device)
        held = None
    anew = held is not None and is_cut_anew(held, frame)
    if anew:  # its sender has another limit now, as at another broker: the frames do not fit together
        effects.append(do.DropSpool(device, frame.id))
        state = _without_partial(state, device)
        held = None
    if held is None and state.spooled + cost(frame.size, frame.n) > SPOOL_BYTES:
        receipt = receipt_of(state, frame.id, "retry", Reason.TOO_MANY_PARTIAL, after_s=BUSY_RETRY_S)
        return state, [*effects, do.SendReceipt(device, receipt)]
    partial = offer(held, frame)
    if isinstance(partial, Rejection):
        state, more = refuse(state, device, frame.id, partial.reason, partial.detail)
        return state, effects + more
    if partial is held:  # sent again: name the missing frames
        receipt = receipt_of(state, frame.id, "retry", missing=_named(partial))
        return state, [*effects, do.SendReceipt(device, receipt)]
    effects.append(do.SpoolFrame(device, frame))
    if partial.complete:
        return _without_partial(state, device), [*effects, read(device, frame.id)]
    if held is None:
        state = replace(state, spooled=state.spooled + cost(partial.size, partial.n))
    if anew:  # it repeats one frame, and is to know that the others are missing again
        receipt = receipt_of(state, frame.id, "retry", missing=_named(partial))
        effects.append(do.SendReceipt(device, receipt))
    return replace(state, partials=state.partials.put(device, partial)), effects


def _named(partial: Partial) -> tuple[int, ...]:
    """The missing frames of the cut that is held which a receipt names; the next one names further ones."""
    return partial.missing[:MOST_NAMED]


def _never_answered(state: Federation, event: on.FrameArrived, asked: RoundId) -> Step:
    """Answer a question about a closed round in which the ledger has no verdict on the update."""
    device, update = event.device, event.frame.id
    if event.kept:
        detail = f"round {asked} is closed, and this update was not answered in it"
        return refuse(state, device, update, Reason.STALE_ROUND, detail)
    detail = f"round {asked} is no longer kept, so it is unknown whether this update counted"
    return refuse(state, device, update, Reason.FORGOTTEN, detail)


def _without_partial(state: Federation, device: str) -> Federation:
    held = state.partials.get(device)
    if held is None:
        return state
    return replace(
        state, partials=state.partials.drop(device), spooled=state.spooled - cost(held.size, held.n)
    )


def garbage_arrived(state: Federation, event: on.GarbageArrived) -> Step:
    """Refuse bytes that are not a frame."""
    return refuse(state, event.device, event.digest, event.reason, event.detail)
