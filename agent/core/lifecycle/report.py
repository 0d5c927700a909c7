"""Handles an update from the worker's result to the verdict: saves it, sends it, asks about it, drops it.

An algorithm's new state waits for the verdict on the update with which it was made. With "admitted" it
becomes the current state, with "refused" it is dropped, in the same step. So the verdict must be known before
the next update is made: the device asks for it (`Asking`) and never guesses.
"""

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Asking, Device, Idle, Reporting, Saved, Working
from agent.core.lifecycle.download import keep
from agent.core.lifecycle.outcome import Step, fraction
from agent.core.lifecycle.statuses import make_decline, status
from agent.core.protection import OF_ROWS, withholds
from fedge.frozen import replace
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.manifest import Manifest
from fedge.wire.reasons import Reason

REPORT_RETRY_S, LONGEST_REPORT_RETRY_S = 2.0, 60.0
NOT_KNOWN = frozenset({Reason.FORGOTTEN, Reason.ALREADY_ANSWERED, Reason.UNKNOWN_DEVICE, Reason.OTHER})
"""Refusals that leave open whether the state counts: the ledger no longer has that round, another update of
this device was answered in it (made before it lost its memory), or the ledger was not consulted."""


def take_result(state: Device, event: on.Done) -> Step:
    """Save the update, then send it, then keep the model that it was made from."""
    if state.work != Working(event.round):
        return state, []
    state = replace(
        state,
        saved=Saved(
            event.round,
            event.digest,
            pending=event.pending is not None,
            own_models=event.personal is not None,
        ),
        samples=event.samples,
        work=Reporting((0,), event.now_s + REPORT_RETRY_S),
    )
    effects: list[do.Effect] = [
        do.SaveUpdate(
            state.seen,
            event.digest,
            event.payload,
            event.snapshot,
            event.pending,
            event.personal,
            event.round if event.round != state.seen.round else None,
            event.masked,
        ),
        do.PublishUpdate(event.digest, None),
    ]
    if state.lacks_model:  # a newer model was announced meanwhile
        return state, effects
    state, keeping = keep(state, event.now_s)  # after the update, because other devices still train
    return state, effects + keeping


def undecided(state: Device, manifest: Manifest) -> bool:
    """Whether the verdict on the saved update must be known before another of its generation is made."""
    saved = state.saved
    if saved is None or not saved.pending or saved.verdict is not None:
        return False
    return saved.round.generation == manifest.generation and saved.round < round_of(manifest)


def ask(state: Device, now_s: float) -> Step:
    """Ask for the verdict on the saved update of an earlier round. Nothing else is done before the answer."""
    state = replace(state, work=Asking((0,), now_s + REPORT_RETRY_S))
    return state, [publish_again(state, (0,))]


def publish_again(state: Device, frames: tuple[int, ...]) -> do.PublishUpdate:
    """Send these frames of the saved update again. In the state `Asking` frame 0 carries the question."""
    assert state.saved is not None
    asks: RoundId | None = state.saved.round if isinstance(state.work, Asking) else None
    return do.PublishUpdate(state.saved.digest, frames, asks)


def take_failure(state: Device, event: on.Failed) -> Step:
    """Decline a round whose work failed, or whose update could not be saved."""
    at_work = isinstance(state.work, Working) and state.work.round == event.round
    unsaved = (
        isinstance(state.work, Reporting) and state.saved is not None and state.saved.round == event.round
    )
    if not (at_work or unsaved) or state.manifest is None:
        return state, []
    private = event.reason in OF_ROWS and withholds(state.trust, state.manifest)
    declined = make_decline(state.manifest, event.reason, "" if private else event.told)
    state = replace(state, work=Idle(), declined=declined)
    if unsaved:  # the model was not kept either, which comes after the update
        state = replace(state, saved=None, kept=None)
    text = f"round {event.round}: declined ({event.reason}): {event.detail}"
    return state, [do.Log("warning", text), do.SaveSeen(state.seen), do.PublishStatus(status(state))]


def take_receipt(state: Device, event: on.ReceiptArrived) -> Step:
    """Handle the aggregator's answer to the saved update: send frames, retry, keep it, or finish."""
    receipt = event.receipt
    saved = state.saved
    if saved is None or receipt.update != saved.digest:
        return state, []
    if receipt.verdict == "retry":
        if not isinstance(state.work, Reporting):
            return state, []
        tries = state.work.tries
        if receipt.missing and receipt.after_s == 0:
            work = replace(state.work, frames=(0,), due_s=event.now_s + REPORT_RETRY_S, held=False)
            return replace(state, work=work), [publish_again(state, receipt.missing)]
        # Every device gets the same number of seconds, so jitter spreads the devices.
        wait_s = max(receipt.after_s, REPORT_RETRY_S) * (1 + fraction(saved.digest, tries) / 2)
        work = replace(state.work, frames=receipt.missing or (0,), due_s=event.now_s + wait_s, held=True)
        return replace(state, work=work), []
    asked = isinstance(state.work, Reporting)
    if asked:
        state = replace(state, work=Idle())
    other_history = asked and receipt.verdict == "refused" and receipt.reason is Reason.WRONG_BASE
    if saved.verdict is not None and not other_history:
        return state, []
    unasked = receipt.verdict == "refused" and not asked  # not logged, so that no sender can fill the log
    if receipt.verdict == "refused" and round_of(receipt) < saved.round:
        if unasked:
            return state, []
        # That ledger is an older copy and may be replaced. Only a ledger that has this round can judge.
        text = (
            f"round {saved.round}: an aggregator that only knows round {round_of(receipt)} refused the "
            f"update ({receipt.reason}): the update is kept until its round is announced again"
        )
        return state, [do.Log("warning", text)]
    if receipt.reason is Reason.WRONG_BASE:
        # It was made from another aggregator's model. A new update may still answer this round.
        text = f"round {saved.round}: the update was made from another model than the announced one: dropped"
        return replace(state, saved=None), [do.Log("warning", text)]
    if receipt.reason in (Reason.NOT_CHOSEN, Reason.QUARANTINED):
        if unasked:
            return state, []
        # Another aggregator had asked for it, or this one before it was restored; or the quarantine may end.
        # The next attempt may ask for it again.
        why = "the update is not asked for in this attempt"
        if receipt.reason is Reason.QUARANTINED:
            why = receipt.detail or "this device is in quarantine"
        return state, [do.Log("warning", f"round {saved.round}: {why}: the update is kept")]
    resets = saved.pending and receipt.verdict == "refused" and receipt.reason in NOT_KNOWN
    counts = saved.pending and receipt.verdict == "admitted"
    state = replace(
        state,
        saved=replace(saved, verdict=receipt.verdict, pending=False),
        remembers=saved.round if counts else None if resets else state.remembers,
    )
    effects: list[do.Effect] = [do.SaveVerdict(saved.digest, receipt.verdict, resets)]
    if resets:
        effects.append(do.Log("warning", f"round {saved.round}: the algorithm begins anew after it"))
    if receipt.reason is Reason.FORGOTTEN:
        text = f"round {saved.round}: it is not known any more whether the update counted: {receipt.detail}"
        effects.append(do.Log("warning", text))
    elif receipt.verdict == "refused":
        why = f"{receipt.reason or 'no reason'}{': ' + receipt.detail if receipt.detail else ''}"
        effects.append(do.Log("warning", f"round {saved.round}: the update was refused: {why}"))
    else:
        masked = state.masked_in == saved.round
        what = "the promised update counts once it is aggregated" if masked else "the update counts"
        effects.append(do.Log("info", f"round {saved.round}: {what}"))
    return state, effects
