"""Complete updates and surveys: each is admitted or refused, once per device and round. Pure."""

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.admission import Admitted, Terms, admit
from aggregator.core.buffering import base_of, is_buffered, may_follow
from aggregator.core.federation import Federation, Promised, Stage, Step
from aggregator.core.grouping import unfit
from aggregator.core.receipts import BUSY_RETRY_S, receipt_of, refuse, turn_away
from aggregator.core.shared_entries import shared_by
from aggregator.core.update_limits import max_distance, max_lengths
from aggregator.core.verdicts import Measured, Verdict
from aggregator.phases.phase import phase_of
from fedge.algorithms.protocols import WEIGHTS
from fedge.frozen import replace
from fedge.latest import latest_of
from fedge.masking.round_messages import Promise
from fedge.wire.freshness import round_of
from fedge.wire.messages.fields import Metrics
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Reason, Rejection


def update_read(state: Federation, event: on.UpdateRead) -> Step:
    """Admit an update or refuse it: the verdict is final for its device in this round."""
    device, digest, message = event.device, event.digest, event.message
    dropped: list[do.Effect] = [do.DropSpool(device, digest)]
    if isinstance(message, Rejection):
        state, more = refuse(state, device, digest, message.reason, message.detail)
        return state, dropped + more
    if device in state.quarantined:
        state, more = turn_away(state, device, digest)
        return state, dropped + more
    buffered = is_buffered(state)
    # While the round closes, the update is too late for this model; but if closing fails, the round needs
    # more updates. And one update of a device counts in a buffer; the next one counts in the next version.
    known, follows = state.answers.get(device), may_follow(state, device)
    if state.stage is Stage.CLOSING or (buffered and known is not None and not follows):
        receipt = receipt_of(state, digest, "retry", after_s=BUSY_RETRY_S)
        return state, [*dropped, do.SendReceipt(device, receipt)]
    if state.stage is Stage.DONE or (known is not None and not follows):
        state, more = refuse(state, device, digest, Reason.ROUND_CLOSED, f"round {state.round} is closed")
        return state, dropped + more
    number = round_of(message).round
    ours = round_of(message).generation == state.round.generation
    if buffered and ours and number <= state.begun.get(device, -1):
        detail = f"one update of a device counts for each version, and that for round {number} is answered"
        state, more = refuse(state, device, digest, Reason.ALREADY_ANSWERED, detail)
        return state, dropped + more
    terms = _stale_terms(state, event) or terms_of(state)
    verdict = admit(terms, device, message)
    if isinstance(verdict, Admitted) and isinstance(message, Promise):
        why = unfit(state, message.drawn)
        verdict = verdict if why is None else Rejection(Reason.MALFORMED, why)
    if not isinstance(verdict, Admitted):
        if verdict.reason is Reason.STALE_ROUND and not event.remembered:
            detail = f"round {round_of(message)} is no longer kept, so it is unknown whether it counted"
            verdict = Rejection(Reason.FORGOTTEN, detail)
        # An update from another base is of another history of this round, and is no answer in this one. A
        # device that is not chosen was asked by another aggregator with this history, or before this ledger
        # was restored: a later attempt may ask it for this very update.
        no_answer = verdict.reason in (Reason.WRONG_BASE, Reason.NOT_CHOSEN)
        made_for = state.round.round if terms.made_for is None else terms.made_for
        asked_for = round_of(message) == state.round._replace(round=made_for)
        in_round = asked_for and message.device == device and not no_answer
        state, more = refuse(state, device, digest, verdict.reason, verdict.detail)
        if in_round:  # it is the device's one answer in this round; if sent again it gets the same verdict
            answer = Verdict(digest, "refused", verdict.reason, verdict.detail, began=terms.made_for)
            state = _answered(state, device, answer, number)
            more = [do.SaveAnswer(state.round, device, answer), *_replaced(device, known), *more]
        return state, [*dropped, *more]
    answer = verdict_of(digest, message, verdict, terms.made_for)
    if isinstance(message, Promise) and event.key is not None:
        promised = Promised(message.certificate, event.key, message.drawn)
        state = replace(state, promised=state.promised.put(device, promised))
    state, said = _unseen(_answered(state, device, answer, number), device, answer.metrics)
    return state, [
        do.SaveAnswer(state.round, device, answer),
        *_replaced(device, known),
        do.SendReceipt(device, receipt_of(state, digest, "admitted")),
        *said,
    ]


def verdict_of(
    digest: bytes, message: Update | Survey | Promise, found: Admitted, made_for: int | None
) -> Verdict:
    """The verdict on an update that is admitted; `made_for`: as in `Terms`."""
    measured = _measured(message, found) if isinstance(message, Update) else None
    return Verdict(digest, "admitted", None, "", found.samples, found.figures, made_for, measured)


def _measured(update: Update, verdict: Admitted) -> Measured:
    further = {name: length for name, length in verdict.lengths.items() if name != WEIGHTS}
    measured = Measured(update.steps, verdict.lengths.get(WEIGHTS))
    return measured._replace(further=further) if further else measured


def _replaced(device: str, known: Verdict | None) -> list[do.Effect]:
    """Drop what is left of a refused update, in whose place another one is judged."""
    return [do.DropSpool(device, known.digest)] if known is not None else []


def _answered(state: Federation, device: str, answer: Verdict, number: int) -> Federation:
    """The state with the verdict on a device's update, which was made for the round of this number."""
    state = state.answered(device, answer)
    return replace(state, begun=state.begun.put(device, number)) if is_buffered(state) else state


def _unseen(state: Federation, device: str, figures: Metrics) -> Step:
    """Log once that a device measures on classes that it does not train on, until that is corrected."""
    unseen, held = int(figures.get("held_unseen", 0)), int(figures.get("held_out", 0))
    if bool(unseen) == (device in state.unseen):
        return state, []
    if not unseen:
        return replace(state, unseen=state.unseen.drop(device)), []
    said = (
        f"{device}: {unseen} of its {held} held-out rows are of classes that its training part lacks; its "
        'owner should set [data] holdout = { part = …, by = "every" }'
    )
    state = replace(state, unseen=state.unseen.put(device))
    return state, [do.Log("warning", said, device, "held_unseen")]


def _stale_terms(state: Federation, event: on.UpdateRead) -> Terms | None:
    """The terms for an update that was made for an older round; None: it does not count for one."""
    if isinstance(event.message, Rejection) or event.start is None:
        return None
    older = round_of(event.message)
    digest = base_of(state, older.round)
    if digest is None or older >= state.round or older.generation != state.round.generation:
        return None
    return replace(terms_of(state), base=digest, start=event.start, made_for=older.round)


@latest_of(
    "round",
    "kind",
    "task",
    "task_message",
    "model",
    "base",
    "clusters",
    "weights",
    "cohorts",
    "max_samples",
    "plan",
    "rule",
    "server",
    "seed",
    "rules",
    "usual",
)
def terms_of(state: Federation) -> Terms:
    """The terms of admission to the open round; they are the same for all updates of an attempt."""
    return Terms(
        round=state.round,
        kind=state.kind,
        base=phase_of(state.kind).base(state.task, state.model),
        weights=state.weights,
        task=state.task_message,
        cohorts=state.cohorts,
        max_samples=state.max_samples,
        codec=state.plan.codec,
        codec_options=state.plan.codec_options or {},
        seed=state.seed,
        sends=state.parts.sends,
        shared=shared_by(state.parts.personal, state.task_message.network),
        start=state.base,
        clusters=state.clusters,
        furthest=max_distance(state),
        longest=max_lengths(state),
    )
