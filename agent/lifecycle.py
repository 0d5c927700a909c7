"""What a device decides: `step(state, event) -> (state, effects)`, and nothing else affects it.

Pure (law 1): time comes in as `now_s` (monotonic seconds), randomness and ids as fields of events. The two
machines are the link (`link_up`) and the work; a dead Wi-Fi changes only the first. Effects are performed
in the order they are listed: what must be durable comes before what can be seen (law 4).
"""

from dataclasses import replace
from hashlib import sha256
from itertools import chain
from math import inf

from agent import effects as do
from agent import events as on
from agent.allowance import (
    beyond_model,
    beyond_program,
    can_follow,
    objections_to_source,
    objections_to_work,
    used_up,
)
from agent.device import Device, Fetching, Idle, Reporting, Saved, Working
from agent.limits import Objection
from agent.manners import PASSING, Readings
from fedge.capabilities import STATES, of_manifest, passed_over
from fedge.freshness import Attempt, round_of
from fedge.messages.fields import detail_of
from fedge.messages.manifest import Manifest
from fedge.messages.status import Decline, Status
from fedge.reasons import Reason
from fedge.selection import chosen
from fedge.trust import fingerprint

FETCH_RETRY_S, LONGEST_FETCH_RETRY_S = 15.0, 240.0
REPORT_RETRY_S, LONGEST_REPORT_RETRY_S = 2.0, 60.0
KEEP_AGAIN_S = 60.0
"""So long after its disk did not take a model a device tries again."""
CLONE_PAUSE_S = 60.0
UNSAVED_PAUSE_S = 30.0
MEASURE_AGAIN_S = 30.0
"""How often conditions are looked at again, while nothing but they keeps the device from its work."""

Step = tuple[Device, list[do.Effect]]


def status(state: Device, *, online: bool = True) -> Status:
    """The status to publish; with `online=False` the last words."""
    return Status(
        online=online,
        boot=state.boot,
        connection=state.connection,
        version=state.version,
        samples=state.samples,
        generation=state.seen.round.generation,
        round=state.seen.round.round,
        holds=state.kept,
        declined=state.declined,
        signer=state.signers[-1] if state.signers else None,
        can=tuple(sorted(state.can)),
        uses=state.used if state.gated and state.used != state.kept else None,
    )


def due_s(state: Device) -> float | None:
    """When a `Tick` is wanted next."""
    if _may_judge(state):
        return -inf
    if not state.link_up:
        return None
    match state.work:
        case Fetching(due_s=due) | Reporting(due_s=due):
            return due
        case Idle():
            due = state.measure_s if _waits(state) else inf
            if _may_follow(state):
                due = min(due, _follow_due_s(state))
            return None if due == inf else due
        case _:
            return None


def step(state: Device, event: on.Event) -> Step:
    """One event's consequences. An event that does not fit changes nothing."""
    match event:
        case on.LinkUp():
            return _link_up(state, event)
        case on.LinkDown():
            return replace(state, link_up=False), []
        case on.RoundAnnounced():
            return _announced(state, event)
        case on.FrameArrived():
            return _frame_arrived(state, event.now_s), []
        case on.Fetched():
            return _fetched(state, event)
        case on.Done():
            return _done(state, event)
        case on.Failed():
            return _failed(state, event)
        case on.ReceiptArrived():
            return _answered(state, event)
        case on.StatusSeen():
            return _status_seen(state, event)
        case on.KeepFailed():
            sooner_s = max(0.0, state.follow_s - KEEP_AGAIN_S)
            return replace(state, kept=None, followed_s=event.now_s - sooner_s), []
        case on.Judged():
            return _judged(state, event)
        case on.UseFailed():
            return replace(state, used=event.used, unfit=state.used), []  # until another one comes
        case on.SignersUnsaved():
            return _signers_unsaved(state)
        case on.ConditionsChanged():
            return _conditions_changed(state, event)
        case on.Tick():
            return _tick(state, event.now_s)


def _link_up(state: Device, event: on.LinkUp) -> Step:
    returned = state.connection > 0
    state = replace(state, link_up=True, connection=event.connection, returned=returned)
    effects: list[do.Effect] = [do.Greet(), do.PublishStatus(status(state))]
    match state.work:
        case Fetching():
            state, more = _fetch(state, event.now_s, to_work=state.work.to_work)
            effects += more
        case Reporting() if state.saved:
            # One frame tells the aggregator which update we hold; its receipt says what it lacks.
            effects.append(do.PublishUpdate(state.saved.digest, (0,)))
            state = replace(state, work=replace(state.work, due_s=event.now_s + REPORT_RETRY_S))
    return state, effects


def _announced(state: Device, event: on.RoundAnnounced) -> Step:
    manifest, now_s = event.manifest, event.now_s
    announced = _attempt_of(manifest)
    effects: list[do.Effect] = []
    if event.signers != state.signers:
        text = f"models are signed with the key {fingerprint(event.signers[-1])} now, as the one before said"
        effects += [do.SaveSigners(event.signers, announced), do.Say("warning", text)]
        # The key before may have been stolen, and have signed a round or an attempt that none could ever
        # follow, or another model under this one's number: what was begun under it begins anew.
        state = replace(state, signers=event.signers, seen=announced, manifest=None)
        effects.append(do.PublishStatus(status(state)))
    if announced < state.seen:
        if state.passed_over == state.seen:
            return state, []  # said already, and a replay is cheap to repeat
        text = f"ignored an announcement of round {announced}: this device has seen round {state.seen}"
        state = replace(state, passed_over=state.seen)
        return state, [do.Say("warning", text), do.PublishStatus(status(state))]
    state = _measured(state, now_s, event.readings)
    current = state.manifest
    closes_s = now_s + event.left_s
    same_work = current is None or _made_from(manifest) == _made_from(current)
    same_state = current is not None and current.state == manifest.state
    if current is not None and same_state and round_of(current) == announced.round and not same_work:
        # Another aggregator's round or end of that number, which has another history: what was made for the
        # one before is no answer to this one, and its final model is not this one's.
        state = replace(state, saved=None)
    elif current is not None and announced == state.seen:
        if manifest.state != current.state:
            return state, effects
        state = replace(state, closes_s=closes_s)  # said again, by an aggregator that came back
        if not isinstance(state.work, Idle):
            return state, effects
        asks_anew = (manifest.plan, manifest.requires) != (current.plan, current.requires)
        if asks_anew and state.declined is not None:  # it was restarted with a plan that was mended
            state, more = _decide(replace(state, manifest=manifest, declined=None), now_s)
            effects += [] if state.declined is not None else [do.PublishStatus(status(state))]
            return state, effects + more
        state, more = _decide(state, now_s)
        return state, effects + more

    same_round = current is not None and round_of(current) == announced.round and manifest.state == "open"
    same_round = same_round and same_work
    state = replace(state, seen=announced, manifest=manifest, closes_s=closes_s, declined=None)
    match state.work:
        # Another attempt of the round it works on: what it does stays right.
        case Fetching(to_work=True) | Working() if same_round:
            return state, effects
        case Reporting() if same_round:
            return state, [*effects, do.SaveSeen(announced)]
        case Working(round=older):
            effects.append(do.CancelWork(older))
        case Fetching():
            effects.append(do.StopFetching())
    state, more = _decide(replace(state, work=Idle()), now_s)
    match state.work:
        case Working() | Fetching(to_work=True):
            pass  # saved together with the update: one write to the SD card instead of two
        case _:
            effects.append(do.SaveSeen(announced))
            if not more and _holds_the_final_model(state):  # since it measured it, which nobody was told
                more.append(do.PublishStatus(status(state)))
    return state, effects + more


def _holds_the_final_model(state: Device) -> bool:
    """Whether learning is done, and its last model is already the one in the file."""
    manifest = state.manifest
    return (
        manifest is not None
        and manifest.state == "done"
        and manifest.model is not None
        and manifest.model.digest == state.kept
    )


def _signers_unsaved(state: Device) -> Step:
    """Leave for a while: who comes back is told the announcement again. Until then answer no other."""
    effects: list[do.Effect] = [do.Withdraw(UNSAVED_PAUSE_S, farewell=state.link_up)]
    match state.work:
        case Working(round=unwanted):
            effects.append(do.CancelWork(unwanted))
            state = replace(state, work=Idle())
        case Reporting():
            state = replace(state, work=Idle())
    return replace(state, link_up=False), effects


def _decide(state: Device, now_s: float) -> Step:
    """What to do about the newest manifest, from Idle."""
    manifest = state.manifest
    if manifest is None:
        return state, []
    announced = round_of(manifest)
    if manifest.state == "open":
        if _half_understood(state, manifest):
            state = replace(state, saved=None)
        if state.saved is not None and state.saved.round == announced:
            if state.saved.verdict is not None:
                return _say_again(state, manifest, now_s)
            work = Reporting((0,), now_s + REPORT_RETRY_S)
            return replace(state, work=work), [do.PublishUpdate(state.saved.digest, None)]
        in_time = now_s < state.closes_s and not _refuses(state)
        if in_time and chosen(manifest.cohort, *announced, manifest.attempt, state.device):
            objection = next(objections_to_work(state, manifest), None)
            return _take_up(state, now_s) if objection is None else _decline(state, manifest, objection)
    elif manifest.state not in STATES and not _refuses(state):
        # A newer program asks for something: who is meant says that it will not come.
        objection = next(beyond_program(state, manifest), None)
        if objection is not None and chosen(manifest.cohort, *announced, manifest.attempt, state.device):
            return _decline(state, manifest, objection)
    may_follow = _may_follow(state) and can_follow(state)
    if may_follow and (manifest.state == "done" or now_s >= state.followed_s + state.follow_s):
        return _fetch(state, now_s, to_work=False)
    return state, []


def _half_understood(state: Device, manifest: Manifest) -> bool:
    """Whether the saved update may be of a program before an upgrade, which knew not all that is asked."""
    saved = state.saved
    before = saved is not None and not saved.ours and saved.verdict != "admitted"
    return before and bool(passed_over(of_manifest(manifest)))


def _refuses(state: Device) -> bool:
    """Whether it has declined this attempt for a reason that stays."""
    return state.declined is not None and state.declined.reason not in PASSING


def _take_up(state: Device, now_s: float) -> Step:
    if state.declined is None:
        return _fetch(state, now_s, to_work=True)
    text = f"round {state.seen.round}: taken up, nothing speaks against it any more ({state.declined.reason})"
    state = replace(state, declined=None)
    told: list[do.Effect] = [do.Say("info", text), do.PublishStatus(status(state))]
    state, effects = _fetch(state, now_s, to_work=True)
    return state, told + effects


def _decline(state: Device, manifest: Manifest, objection: Objection) -> Step:
    """Say why not, once for each reason."""
    if state.declined is not None and state.declined.reason == objection.reason:
        return state, []
    state = replace(state, declined=_declined(manifest, objection.reason, objection.detail))
    text = f"round {round_of(manifest)}: declined ({objection.reason}): {objection.full}"
    return state, [do.Say("info", text), do.PublishStatus(status(state))]


def _declined(manifest: Manifest, reason: Reason, detail: str) -> Decline:
    return Decline(
        generation=manifest.generation,
        round=manifest.round,
        attempt=manifest.attempt,
        reason=reason,
        detail=detail_of(detail),
    )


def _measured(state: Device, now_s: float, readings: Readings) -> Device:
    return replace(state, readings=readings, measure_s=now_s + MEASURE_AGAIN_S)


def _conditions_changed(state: Device, event: on.ConditionsChanged) -> Step:
    state = _measured(state, event.now_s, event.readings)
    if used_up(state):
        return _leave(state)
    return _decide(state, event.now_s) if _waits(state) else (state, [])


def _leave(state: Device) -> Step:
    """Today's bytes are used up: to hear any more, of whomever, would use others."""
    effects: list[do.Effect] = [do.Withdraw(MEASURE_AGAIN_S, farewell=state.link_up)]
    if state.link_up:
        limit, spent = state.limits.bytes_per_day, state.readings.spent
        text = f"{spent} bytes were moved today, [limits] bytes_per_day is {limit}: leaving until tomorrow"
        effects.insert(0, do.Say("warning", text))
    return replace(state, link_up=False), effects


def _waits(state: Device) -> bool:
    """Whether a round it would work in is still open, and nothing but conditions speaks against it."""
    return (
        isinstance(state.work, Idle)
        and state.link_up
        and state.declined is not None
        and state.declined.reason in PASSING
        and state.manifest is not None
        and state.manifest.state == "open"
        and state.measure_s < state.closes_s
    )


def _follow_due_s(state: Device) -> float:
    due = state.followed_s + state.follow_s
    return due if can_follow(state) else max(due, state.measure_s)


def _say_again(state: Device, manifest: Manifest, now_s: float) -> Step:
    """A new attempt of a round that counted our update: ask whether it still knows it.

    One frame asks, and the first verdict comes again; an aggregator that was restored from a backup of this
    round asks for the rest instead of waiting for ever.
    """
    assert state.saved is not None
    if manifest.attempt == 0 or state.saved.verdict != "admitted":
        return state, []
    work = Reporting((0,), now_s + REPORT_RETRY_S)
    return replace(state, work=work), [do.PublishUpdate(state.saved.digest, (0,))]


def _may_follow(state: Device) -> bool:
    return (
        state.manifest is not None
        and state.manifest.model is not None
        and state.manifest.model.digest != state.kept
    )


def _fetch(state: Device, now_s: float, *, to_work: bool, tries: int = 0) -> Step:
    assert state.manifest is not None
    task, model = state.lacks_task, state.lacks_model
    if not (task or model):
        return _ready(state, now_s, to_work=to_work)
    work = Fetching(to_work, now_s + _fetch_pause_s(tries), tries)
    return replace(state, work=work), [do.Fetch(state.manifest, task, model)]


def _fetch_pause_s(tries: int) -> float:
    return min(LONGEST_FETCH_RETRY_S, FETCH_RETRY_S * 2.0**tries)


def _frame_arrived(state: Device, now_s: float) -> Device:
    """Go on waiting: asked again, the broker would send everything again, behind what is still under way."""
    if not isinstance(state.work, Fetching):
        return state
    return replace(state, work=replace(state.work, due_s=now_s + _fetch_pause_s(state.work.tries)))


def _ready(state: Device, now_s: float, *, to_work: bool) -> Step:
    """Task and model are at hand."""
    manifest = state.manifest
    assert manifest is not None
    if to_work:
        # The task is known by now. What may pass is not asked again: what was begun is finished.
        objection = next(chain(beyond_program(state, manifest), objections_to_source(state)), None)
        if objection is not None:
            state, effects = _decline(replace(state, work=Idle()), manifest, objection)
            return state, [do.SaveSeen(state.seen), *effects]
        return replace(state, work=Working(round_of(manifest))), [do.StartWork(manifest)]
    objection = next(beyond_model(state, manifest), None)
    if objection is not None:
        text = f"round {round_of(manifest)}: its model is not followed: {objection.detail}"
        return replace(state, work=Idle()), [do.Say("warning", text)]
    state, effects = _keep(replace(state, work=Idle()), now_s)
    if manifest.state == "done":
        effects.append(do.PublishStatus(status(state)))
    return state, effects


def _keep(state: Device, now_s: float) -> Step:
    """Write the model at hand to its file, if that holds an older one."""
    manifest = state.manifest
    if manifest is None or manifest.model is None or manifest.model.digest == state.kept:
        return state, []
    return replace(state, kept=manifest.model.digest, followed_s=now_s), [do.KeepModel(manifest)]


def _may_judge(state: Device) -> bool:
    """Whether there is a gate for which the kept model, at hand with its task, was not measured yet."""
    if not state.gated or state.kept is None or state.kept != state.model or state.judging is not None:
        return False
    manifest = state.manifest
    whole = manifest is None or _made_from(manifest) == (state.task, state.model)
    return whole and state.kept not in (state.used, state.unfit)


def _judge(state: Device) -> Step:
    """Have the kept model measured; the first one is used, as there is nothing that it could be worse than.

    It waits for a tick of its own: an effect before this one may fail, and the model not be kept at all.
    """
    if not _may_judge(state) or state.kept is None:
        return state, []
    if state.used is None:
        return replace(state, used=state.kept), [do.UseModel(state.kept)]
    return replace(state, judging=state.kept), [do.JudgeModel(state.kept)]


def _judged(state: Device, event: on.Judged) -> Step:
    if event.digest != state.judging:
        return state, []
    before = status(state).uses
    state = replace(state, judging=None)
    effects: list[do.Effect] = []
    if event.accepted:
        state = replace(state, used=event.digest, unfit=None)
        effects += [do.UseModel(event.digest), do.Say("info", f"a new model is used: {event.why}")]
    else:
        state = replace(state, unfit=event.digest)
        text = f"a new model is not used, the one before stays in use: {event.why}"
        effects.append(do.Say("warning", text))
    if status(state).uses != before or not event.accepted:
        effects.append(do.PublishStatus(status(state)))
    return state, effects


def _fetched(state: Device, event: on.Fetched) -> Step:
    if not isinstance(state.work, Fetching) or state.manifest is None:
        return state, []
    manifest = state.manifest
    if event.kind == "task" and event.digest == manifest.task.digest:
        state = replace(state, task=event.digest, source=event.source, task_unknown=event.unknown)
    elif event.kind == "model" and manifest.model is not None and event.digest == manifest.model.digest:
        state = replace(state, model=event.digest, model_unknown=event.unknown)
    if state.lacks_task or state.lacks_model:
        return state, []
    assert isinstance(state.work, Fetching)
    state, effects = _ready(state, event.now_s, to_work=state.work.to_work)
    return state, [do.StopFetching(), *effects]


def _done(state: Device, event: on.Done) -> Step:
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
    state, keeping = _keep(state, event.now_s)  # while the others are still at work
    return state, effects + keeping


def _failed(state: Device, event: on.Failed) -> Step:
    at_work = isinstance(state.work, Working) and state.work.round == event.round
    unsaved = (
        isinstance(state.work, Reporting) and state.saved is not None and state.saved.round == event.round
    )
    if not (at_work or unsaved) or state.manifest is None:
        return state, []
    declined = _declined(state.manifest, event.reason, event.told)
    state = replace(state, work=Idle(), declined=declined)
    if unsaved:  # nor was the model kept, which comes after the update
        state = replace(state, saved=None, kept=None)
    text = f"round {event.round}: declined ({event.reason}): {event.detail}"
    return state, [do.Say("warning", text), do.SaveSeen(state.seen), do.PublishStatus(status(state))]


def _answered(state: Device, event: on.ReceiptArrived) -> Step:
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
        wait_s = max(receipt.after_s, REPORT_RETRY_S) * (1 + _fraction(saved.digest, tries) / 2)
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
        return state, [do.Say("warning", text)]
    if receipt.reason is Reason.WRONG_BASE:
        # Made from another aggregator's model: this round may still be answered, once it is announced again.
        text = f"round {saved.round}: the update was made from another model than is announced: forgotten"
        return replace(state, saved=None), [do.Say("warning", text)]
    if receipt.reason in (Reason.NOT_CHOSEN, Reason.QUARANTINED):
        if unasked:
            return state, []
        # Another aggregator had asked for it, or this one before it was restored, or somebody lifts the
        # quarantine: the next attempt may ask for it again.
        why = "the update is not asked for in this attempt"
        if receipt.reason is Reason.QUARANTINED:
            why = receipt.detail or "this device is set aside"
        return state, [do.Say("warning", f"round {saved.round}: {why}: the update is kept")]
    state = replace(state, saved=replace(saved, verdict=receipt.verdict))
    effects: list[do.Effect] = [do.SaveVerdict(saved.digest, receipt.verdict)]
    if receipt.reason is Reason.FORGOTTEN:
        text = f"round {saved.round}: nobody knows any more whether the update counted: {receipt.detail}"
        effects.append(do.Say("warning", text))
    elif receipt.verdict == "refused":
        why = f"{receipt.reason or 'no reason'}{': ' + receipt.detail if receipt.detail else ''}"
        effects.append(do.Say("warning", f"round {saved.round}: the update was refused: {why}"))
    else:
        effects.append(do.Say("info", f"round {saved.round}: the update counts"))
    return state, effects


def _status_seen(state: Device, event: on.StatusSeen) -> Step:
    seen = event.status
    if not state.link_up:
        return state, []
    if event.live and not seen.online:
        # A late will, perhaps of a boot that this state folder does not know, for it was wiped or is an older
        # copy. Whoever's it is: its sender is gone and we are here, so it must not stand as the last word.
        return state, [do.PublishStatus(status(state))]
    if seen.boot == state.boot or seen.boot in state.own_boots:
        if event.live and seen.boot != state.boot:  # what an older boot said, late
            return state, [do.PublishStatus(status(state))]
        return state, []
    # A stranger's boot id can be left over from before this state folder, unless it spoke after we did.
    if not (state.returned or event.live):
        return state, []
    pause_s = CLONE_PAUSE_S * (1 + _fraction(state.boot, state.connection))
    text = (
        f"another device uses the identity {state.device!r} (two from one cloned SD card?): "
        f"give one of them its own; leaving for {pause_s:.0f} s"
    )
    return replace(state, link_up=False), [do.Say("error", text), do.Withdraw(pause_s)]


def _made_from(manifest: Manifest) -> tuple[bytes, bytes | None]:
    """What the answers to an announcement are made from, wherever it lies."""
    return manifest.task.digest, manifest.model.digest if manifest.model is not None else None


def _attempt_of(manifest: Manifest) -> Attempt:
    return Attempt(round_of(manifest), manifest.attempt)


def _tick(state: Device, now_s: float) -> Step:
    state, judging = _judge(state)
    state, effects = _due(state, now_s)
    return state, judging + effects


def _due(state: Device, now_s: float) -> Step:
    due = due_s(state)
    if due is None or now_s < due:
        return state, []
    match state.work:
        case Fetching(to_work=to_work, tries=tries):
            return _fetch(state, now_s, to_work=to_work, tries=min(tries + 1, 20))
        case Reporting(frames=frames, tries=tries) if state.saved:
            pause_s = min(LONGEST_REPORT_RETRY_S, REPORT_RETRY_S * 2**tries)
            jitter = 0.5 + _fraction(state.saved.digest, tries)
            again = Reporting((0,), now_s + pause_s * jitter, min(tries + 1, 20))
            return replace(state, work=again), [do.PublishUpdate(state.saved.digest, frames)]
        case Idle() if _may_follow(state) and now_s >= _follow_due_s(state):
            if can_follow(state):
                return _fetch(state, now_s, to_work=False)
            return replace(state, measure_s=now_s + MEASURE_AGAIN_S), []
        case Idle():
            return replace(state, measure_s=now_s + MEASURE_AGAIN_S), []
        case _:
            return state, []


def _fraction(seed: bytes, count: int) -> float:
    """A number in [0, 1) that differs between devices and tries: jitter without randomness inside."""
    return int.from_bytes(sha256(seed + count.to_bytes(4, "big")).digest()[:4], "big") / 2**32
