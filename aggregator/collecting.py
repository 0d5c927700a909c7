"""What comes from devices while a round is open: frames, updates, statuses. Pure, as `aggregator.rounds`.

Each function takes the state and an event and returns `(state, effects)`; whether the round closes then is
decided in `aggregator.rounds`.
"""

from dataclasses import replace
from typing import Literal

from aggregator import effects as do
from aggregator import events as on
from aggregator.ability import lacks, learn, may_count
from aggregator.admission import Admitted, Terms, admit
from aggregator.answers import Answer
from aggregator.bad_models import declines
from aggregator.claims import OTHERS_MAY_COME, Known, behind_text, incredible_text, judge, outdated_text
from aggregator.federation import Federation, Phase, Step
from aggregator.patience import is_given_up
from aggregator.presence import is_of_key
from aggregator.survey import Refusal
from fedge.frames import Refused, cost, offer
from fedge.freshness import RoundId, round_of
from fedge.messages.fields import Metrics, detail_of
from fedge.messages.frame import Frame
from fedge.messages.receipt import Receipt
from fedge.reasons import PASSING, Reason
from fedge.selection import chosen
from fedge.trust import fingerprint

SPOOL_BYTES = 2 * 2**30
"""What may be held of incomplete updates, of all devices together."""
BUSY_RETRY_S = 5.0
SET_ASIDE = "the federation's operator has set this device aside; nothing of it counts until that is lifted"


def _receipt(
    state: Federation,
    digest: bytes,
    verdict: Literal["admitted", "refused", "retry"],
    reason: Reason | None = None,
    detail: str = "",
    round_id: RoundId | None = None,
    **more: object,
) -> Receipt:
    where = round_id or state.round
    return Receipt.model_validate(
        {
            "generation": where.generation,
            "round": where.round,
            "update": digest,
            "verdict": verdict,
            "reason": reason,
            "detail": detail_of(detail),
            **more,
        }
    )


def _refuse(state: Federation, device: str, digest: bytes, reason: Reason, detail: str) -> Step:
    receipt = _receipt(state, digest, "refused", reason, detail)
    return state, [
        do.CountRefusal(device, reason),
        do.SendReceipt(device, receipt),
        do.Say(
            "warning", f"round {state.round}: refused what {device} sent ({reason}): {detail}", device, reason
        ),
    ]


def _turn_away(state: Federation, device: str, digest: bytes) -> Step:
    """Refuse what comes from a device that is set aside."""
    state = replace(state, turned_away=_with(state.turned_away, device))
    return _refuse(state, device, digest, Reason.QUARANTINED, SET_ASIDE)


def _repeat(state: Federation, device: str, answer: Answer, round_id: RoundId) -> Step:
    """A known update gets its first verdict again: nothing of it is kept a second time."""
    receipt = _receipt(state, answer.digest, answer.verdict, answer.reason, answer.detail, round_id)
    return state, [do.SendReceipt(device, receipt)]


def frame_arrived(state: Federation, event: on.FrameArrived) -> Step:
    """Keep a frame, or answer what it repeats; read the update when it is complete."""
    device, frame = event.device, event.frame
    if state.roster is not None and device not in state.roster:
        return _refuse(
            state, device, frame.id, Reason.UNKNOWN_DEVICE, f"{device!r} is not in [federation] devices"
        )
    answer = state.answers.get(device)
    if answer is not None and answer.digest == frame.id:
        return _repeat(state, device, answer, state.round)
    if event.verdict is not None:
        return _repeat(state, device, event.verdict.answer, event.verdict.round)
    if device in state.quarantined:
        return _turn_away(state, device, frame.id)
    if state.phase is Phase.DONE:
        return _refuse(state, device, frame.id, Reason.ROUND_CLOSED, "learning is done")
    if answer is not None:
        return _refuse(state, device, frame.id, Reason.ALREADY_ANSWERED, "one update counts in a round")
    unable = lacks(state, device)
    if unable != () and frame.i > 0:
        return state, []  # the first one is answered, and whoever hears nothing sends that one again
    if unable:
        detail = f"the round requires {', '.join(unable)}, which {device!r} cannot do; upgrade it"
        return _refuse(state, device, frame.id, Reason.UNSUPPORTED, detail)
    if unable is None:
        return _busy(state, device, frame, Reason.UNSUPPORTED)
    if frame.size > state.largest_update:
        detail = f"{frame.size} bytes; an update of this task has at most {state.largest_update}"
        return _refuse(state, device, frame.id, Reason.OVERSIZE, detail)

    held = state.partials.get(device)
    if state.phase is Phase.CLOSING and (held is None or held.id != frame.id):
        return _busy(state, device, frame)  # it would be read in vain
    effects: list[do.Effect] = []
    if held is not None and held.id != frame.id:  # a device has one update at a time: the newer one
        effects.append(do.DropSpool(device, held.id))
        state = _without_partial(state, device)
        held = None
    if held is None and state.spooled + cost(frame.size, frame.n) > SPOOL_BYTES:
        receipt = _receipt(state, frame.id, "retry", Reason.TOO_MANY_PARTIAL, after_s=BUSY_RETRY_S)
        return state, [*effects, do.SendReceipt(device, receipt)]
    partial = offer(held, frame)
    if isinstance(partial, Refused):
        state, more = _refuse(state, device, frame.id, partial.reason, partial.detail)
        return state, effects + more
    if partial is held:  # said again: tell it what is missing
        receipt = _receipt(state, frame.id, "retry", missing=partial.missing)
        return state, [*effects, do.SendReceipt(device, receipt)]
    effects.append(do.SpoolFrame(device, frame))
    if partial.complete:
        return _without_partial(state, device), [*effects, do.ReadUpdate(device, frame.id)]
    if held is None:
        state = replace(state, spooled=state.spooled + cost(partial.size, partial.n))
    return replace(state, partials={**state.partials, device: partial}), effects


def _busy(state: Federation, device: str, frame: Frame, reason: Reason | None = None) -> Step:
    """Ask to come again later; of several such answers to a device the last one is sent."""
    receipt = _receipt(state, frame.id, "retry", reason, after_s=BUSY_RETRY_S)
    return state, [do.SendReceipt(device, receipt)]


def _without_partial(state: Federation, device: str) -> Federation:
    held = state.partials.get(device)
    if held is None:
        return state
    partials = dict(state.partials)
    del partials[device]
    return replace(state, partials=partials, spooled=state.spooled - cost(held.size, held.n))


def garbage_arrived(state: Federation, event: on.GarbageArrived) -> Step:
    """Refuse bytes that are no frame."""
    return _refuse(state, event.device, event.digest, event.reason, event.detail)


def update_read(state: Federation, event: on.UpdateRead) -> Step:
    """Admit an update or refuse it: its device's one answer in this round."""
    device, digest, message = event.device, event.digest, event.message
    dropped: list[do.Effect] = [do.DropSpool(device, digest)]
    if isinstance(message, Refused):
        state, more = _refuse(state, device, digest, message.reason, message.detail)
        return state, dropped + more
    if device in state.quarantined:
        state, more = _turn_away(state, device, digest)
        return state, dropped + more
    if state.phase is Phase.CLOSING:  # too late for this model; but if none comes of it, the round needs more
        receipt = _receipt(state, digest, "retry", after_s=BUSY_RETRY_S)
        return state, [*dropped, do.SendReceipt(device, receipt)]
    if state.phase is Phase.DONE or device in state.answers:
        state, more = _refuse(state, device, digest, Reason.ROUND_CLOSED, f"round {state.round} is closed")
        return state, dropped + more
    verdict = admit(_terms(state), device, message)
    if not isinstance(verdict, Admitted):
        if verdict.reason is Reason.STALE_ROUND and not event.remembered:
            detail = f"round {round_of(message)} is no longer kept: nobody knows whether this update counted"
            verdict = Refusal(Reason.FORGOTTEN, detail)
        # One made from another model is of another history of this round, and no answer in this one. Who is
        # not chosen was asked by another aggregator with this history, or before this ledger was restored:
        # a later attempt may ask it for just this update.
        no_answer = verdict.reason in (Reason.WRONG_BASE, Reason.NOT_CHOSEN)
        in_round = round_of(message) == state.round and message.device == device and not no_answer
        state, more = _refuse(state, device, digest, verdict.reason, verdict.detail)
        if in_round:  # its one answer in this round; said again it gets the same verdict
            answer = Answer(digest, "refused", verdict.reason, verdict.detail)
            state = _with_answer(state, device, answer)
            more = [do.SaveAnswer(state.round, device, answer), *more]
        return state, [*dropped, *more]
    answer = Answer(digest, "admitted", samples=verdict.samples, metrics=verdict.figures)
    state, said = _unseen(_with_answer(state, device, answer), device, answer.metrics)
    return state, [
        do.SaveAnswer(state.round, device, answer),
        do.SendReceipt(device, _receipt(state, digest, "admitted")),
        *said,
    ]


def _unseen(state: Federation, device: str, figures: Metrics) -> Step:
    """Say once of a device that it measures with classes that it does not train on, until that is mended."""
    unseen, held = int(figures.get("held_unseen", 0)), int(figures.get("held_out", 0))
    if bool(unseen) == (device in state.unseen):
        return state, []
    if not unseen:
        return replace(state, unseen=_without(state.unseen, device)), []
    said = (
        f"{device}: {unseen} of its {held} held-out rows are of classes that its training part lacks: it "
        'should set [data] holdout = { part = …, by = "every" }'
    )
    state = replace(state, unseen=_with(state.unseen, device))
    return state, [do.Say("warning", said, device, "held_unseen")]


def _with_answer(state: Federation, device: str, answer: Answer) -> Federation:
    return replace(
        state,
        answers={**state.answers, device: answer},
        admitted=state.admitted + (answer.verdict == "admitted"),
        awaited=_without(state.awaited, device),
    )


def _terms(state: Federation) -> Terms:
    return Terms(
        round=state.round,
        kind=state.kind,
        base=state.model.digest if state.kind != "survey" and state.model else state.task.digest,
        weights=state.weights,
        task=state.task_message,
        cohorts=state.cohorts,
        max_samples=state.max_samples,
        codec=state.plan.codec,
        start=state.base,
        furthest=state.furthest,
    )


def status_seen(state: Federation, event: on.StatusSeen) -> Step:
    """Take in what a device says of itself: it may decline, come, go, or know more than we do."""
    device, status = event.device, event.status
    effects: list[do.Effect] = [do.SaveStatus(device, status)]
    state = replace(
        state,
        fleet=_with(state.fleet, device),
        online=(_with if status.online else _without)(state.online, device),
    )
    state, more = learn(state, device, status.can)
    effects += more
    if status.declined != state.declined.get(device):
        declined = dict(state.declined)
        declined.pop(device, None)
        if status.declined is not None:
            declined[device] = status.declined
        state = replace(state, declined=declined)
        if status.declined is not None and _declines(state, device) and device in state.awaited:
            said = f"{device} declines ({status.declined.reason}): {status.declined.detail}"
            cause = f"declines {status.declined.reason}"
            level = "info" if status.declined.reason in PASSING else "warning"
            effects.append(do.Say(level, f"round {state.round}: {said}", device, cause))
            state, more = declines(state, device)
            effects += more
    if state.phase is Phase.COLLECTING:
        change = _with if can_be_awaited(state, device) else _without
        state = replace(state, awaited=change(state.awaited, device))
    seen = RoundId(status.generation, status.round)
    believed = device not in state.quarantined
    newer = (
        believed and seen > state.round and is_of_key(status, state.signers[-1] if state.signers else None)
    )
    if newer or device in state.ahead:
        state, behind = _behind(state, device, seen if newer else None)
        effects += behind
    if state.signers and status.signer is not None and status.signer not in state.signers:
        state, estranged = _estranged(state, device, status.signer)
        effects += estranged
    return state, effects


def _with(devices: frozenset[str], device: str) -> frozenset[str]:
    return devices if device in devices else devices | {device}


def _without(devices: frozenset[str], device: str) -> frozenset[str]:
    return devices - {device} if device in devices else devices


def _declines(state: Federation, device: str) -> bool:
    """Whether a device has declined the attempt that is open."""
    declined = state.declined.get(device)
    return declined is not None and (round_of(declined), declined.attempt) == (state.round, state.attempt)


def _behind(state: Federation, device: str, seen: RoundId | None) -> Step:
    """A device claims to have seen more than this ledger knows, or takes it back: who is believed?"""
    before = state.ahead.get(device)
    ahead = {name: claim for name, claim in state.ahead.items() if name != device}
    state = replace(state, ahead=ahead if seen is None else {**ahead, device: seen})
    if seen is None or seen == before:
        return state, []
    young = state.young and state.round.round == 0
    known = Known(state.round, state.voters | state.fleet, young, state.roster)
    verdict = judge(known, state.fleet, state.ahead)
    if verdict.outcome == "behind":
        text = behind_text(verdict.text) + (f". {OTHERS_MAY_COME}" if young else "")
        return state, [do.GiveUp(text, gave_way=False, later=young)]
    if device not in verdict.incredible:
        text = f"{device} has seen round {seen}, this ledger only knows {state.round}: it will not take part"
        return state, [do.Say("error", text, device, "ahead")] if before is None else []
    if device in state.incredible:
        return state, []
    state = replace(state, incredible=state.incredible | {device})
    text = incredible_text({device: seen}, state.round) + outdated_text(verdict.incredible, known)
    return state, [do.Say("warning", text, device, "incredible")]


def _estranged(state: Federation, device: str, believed: bytes) -> Step:
    """A device pins, or has followed, a key that we never had: it refuses all that we announce."""
    if device in state.estranged:
        return state, []
    text = (
        f"{device} believes the signing key {fingerprint(believed)}, ours is "
        f"{fingerprint(state.signers[-1])}: it refuses what is announced. Is [signing] key an old copy, "
        "or another one pinned there?"
    )
    return replace(state, estranged=state.estranged | {device}), [do.Say("error", text, device, "estranged")]


def awaited(state: Federation) -> Federation:
    """Work out anew who can still be hoped for."""
    hoped = frozenset(device for device in state.online if can_be_awaited(state, device))
    return replace(state, awaited=hoped)


def can_be_awaited(state: Federation, device: str) -> bool:
    """Whether the round waits for a device: everything that speaks against it stands here."""
    if device not in state.online or device in state.answers or _declines(state, device):
        return False
    if not may_count(state, device) or is_given_up(state, device):
        return False
    return bool(state.cohorts) and chosen(state.cohorts[-1], *state.round, state.attempt, device)
