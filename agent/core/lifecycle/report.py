"""From the worker's result to the aggregator's verdict: what is saved, published again, and forgotten."""

from dataclasses import replace

from agent.core import effects as do
from agent.core import events as on
from agent.core.device import Device, Idle, Reporting, Saved, Working
from agent.core.lifecycle.download import keep
from agent.core.lifecycle.outcome import Step, fraction
from agent.core.lifecycle.statuses import make_decline, status
from fedge.wire.freshness import round_of
from fedge.wire.reasons import Reason

REPORT_RETRY_S, LONGEST_REPORT_RETRY_S = 2.0, 60.0


def take_result(state: Device, event: on.Done) -> Step:
    """Save what the worker made, then publish it, then keep the model it was made from."""
    if state.work != Working(event.round):
        return state, []
    state = replace(
        state,
        saved=Saved(event.round, event.digest),
        samples=event.samples,
        work=Reporting((0,), event.now_s + REPORT_RETRY_S),
    )
    effects: list[do.Effect] = [
        do.SaveUpdate(state.seen, event.digest, event.payload, event.snapshot),
        do.PublishUpdate(event.digest, None),
    ]
    state, keeping = keep(state, event.now_s)  # while the others are still at work
    return state, effects + keeping


def take_failure(state: Device, event: on.Failed) -> Step:
    """Decline a round whose work, or the saving of it, has failed."""
    at_work = isinstance(state.work, Working) and state.work.round == event.round
    unsaved = (
        isinstance(state.work, Reporting) and state.saved is not None and state.saved.round == event.round
    )
    if not (at_work or unsaved) or state.manifest is None:
        return state, []
    declined = make_decline(state.manifest, event.reason, event.told)
    state = replace(state, work=Idle(), declined=declined)
    if unsaved:  # nor was the model kept, which comes after the update
        state = replace(state, saved=None, kept=None)
    text = f"round {event.round}: declined ({event.reason}): {event.detail}"
    return state, [do.Log("warning", text), do.SaveSeen(state.seen), do.PublishStatus(status(state))]


def take_receipt(state: Device, event: on.ReceiptArrived) -> Step:
    """Take the aggregator's answer to the saved update: send again, come again, keep it, or be done."""
    receipt = event.receipt
    saved = state.saved
    if saved is None or receipt.update != saved.digest:
        return state, []
    if receipt.verdict == "retry":
        if not isinstance(state.work, Reporting):
            return state, []
        tries = state.work.tries
        if receipt.missing and receipt.after_s == 0:
            work = Reporting((0,), event.now_s + REPORT_RETRY_S, tries)
            return replace(state, work=work), [do.PublishUpdate(saved.digest, receipt.missing)]
        # Whoever else was told to come later was told the same number of seconds.
        wait_s = max(receipt.after_s, REPORT_RETRY_S) * (1 + fraction(saved.digest, tries) / 2)
        return replace(state, work=Reporting(receipt.missing or (0,), event.now_s + wait_s, tries)), []
    asked = isinstance(state.work, Reporting)
    if asked:
        state = replace(state, work=Idle())
    other_history = asked and receipt.verdict == "refused" and receipt.reason is Reason.WRONG_BASE
    if saved.verdict is not None and not other_history:
        return state, []
    unasked = receipt.verdict == "refused" and not asked  # else whoever repeats it fills our log
    if receipt.verdict == "refused" and round_of(receipt) < saved.round:
        if unasked:
            return state, []
        # That ledger is an older copy, and may be replaced: only one that knows this round can judge.
        text = (
            f"round {saved.round}: an aggregator that only knows {round_of(receipt)} refused the update "
            f"({receipt.reason}): it is kept until that round is announced again"
        )
        return state, [do.Log("warning", text)]
    if receipt.reason is Reason.WRONG_BASE:
        # Made from another aggregator's model: this round may still be answered, once it is announced again.
        text = f"round {saved.round}: the update was made from another model than is announced: forgotten"
        return replace(state, saved=None), [do.Log("warning", text)]
    if receipt.reason in (Reason.NOT_CHOSEN, Reason.QUARANTINED):
        if unasked:
            return state, []
        # Another aggregator had asked for it, or this one before it was restored, or somebody lifts the
        # quarantine: the next attempt may ask for it again.
        why = "the update is not asked for in this attempt"
        if receipt.reason is Reason.QUARANTINED:
            why = receipt.detail or "this device is set aside"
        return state, [do.Log("warning", f"round {saved.round}: {why}: the update is kept")]
    state = replace(state, saved=replace(saved, verdict=receipt.verdict))
    effects: list[do.Effect] = [do.SaveVerdict(saved.digest, receipt.verdict)]
    if receipt.reason is Reason.FORGOTTEN:
        text = f"round {saved.round}: nobody knows any more whether the update counted: {receipt.detail}"
        effects.append(do.Log("warning", text))
    elif receipt.verdict == "refused":
        why = f"{receipt.reason or 'no reason'}{': ' + receipt.detail if receipt.detail else ''}"
        effects.append(do.Log("warning", f"round {saved.round}: the update was refused: {why}"))
    else:
        effects.append(do.Log("info", f"round {saved.round}: the update counts"))
    return state, effects
