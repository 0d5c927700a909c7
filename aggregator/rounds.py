"""What the aggregator decides: `step(state, event) -> (state, effects)`, and nothing else affects it.

Pure (law 1). Effects are performed in the order they are listed; those in `DURABLE` are committed before
any other effect of the same turn is performed, so nothing is seen that a crash could forget (law 4).

    PREPARING ──frames acknowledged──► COLLECTING ──target, all answered, or deadline──► CLOSING
        ▲                                 │  ▲ └─ deadline below quorum: attempt + 1 ─┘     │
        └──────────── next round ─────────┴──┴────────── the model is saved ────────────────┤
                                                             stopping rule, measured ──► DONE

What devices measure they tell of the model that a round begins from. So once the stopping rule has come
true, one more round asks for nothing but that, of the newest model: its kind is `evaluate`, it is closed with
whatever has come at its deadline, and leaves the model as it is. It is left out where those online who can do
it are too few to speak for who made the model, or no round has told a figure by which one could be better.

A deadline is of the time with a connection since the attempt was first announced: without one its time stands
still, and the next attempt begins when it can be announced, so that none passes of which nobody could hear.
Who lets deadlines pass is given up (`aggregator.patience`).

CLOSING lasts as long as the rule computes, and everything else goes on: an update that comes is told to come
again. If no model comes of it, the round is COLLECTING again, with the next attempt. If some updates make the
mean unusable, they are set aside; with enough others the round stays CLOSING, and is computed of those.
"""

import hashlib
from dataclasses import replace
from typing import Literal

from aggregator import effects as do
from aggregator import events as on
from aggregator import patience, story
from aggregator.ability import lacks, may_count, unable
from aggregator.bad_models import blame
from aggregator.collecting import awaited, frame_arrived, garbage_arrived, status_seen, update_read
from aggregator.federation import Federation, Phase, Step, service
from aggregator.figures import speaking_for, suffice
from aggregator.isolation import isolate, needed_again, quarantined
from aggregator.quorum import quorum_of, remedy
from fedge.freshness import RoundId
from fedge.messages.fields import detail_of
from fedge.messages.manifest import Cohort, Manifest
from fedge.reasons import Reason
from fedge.selection import chosen

BEAT_S = 10.0
PUSHES = 2
"""Who was pushed out of its connection so often has a living rival."""
NAMED = 20
"""So many devices are named in one line."""
DRAWS = 32
"""How often the cohort's seed is drawn to find enough devices that are online."""


def due_s(state: Federation) -> float:
    """When a `Tick` is wanted next."""
    if state.phase is Phase.COLLECTING and state.since_s is not None:
        return min(state.beat_due_s, state.since_s + state.rules.deadline_s - state.elapsed_s)
    return state.beat_due_s


def start(state: Federation, now_s: float) -> Step:
    """Begin, from what the ledger knows: announce the open round, or that learning is done."""
    state = replace(state, beat_due_s=now_s + BEAT_S)
    if state.phase is Phase.DONE and (why := _finished(state)) is not None:
        return state, [do.Finish(why)]
    if not state.cohorts:
        return _draw(state)
    if state.quorum is None and (quorum := _quorum(state)) is not None:  # it was drawn under another rule
        saved = do.SaveRound(state.round, state.kind, state.attempt, state.cohorts, quorum)
        return replace(state, quorum=quorum), [saved, do.SaveElapsed(state.round, state.elapsed_s)]
    return state, []


def step(state: Federation, event: on.Event) -> Step:
    """One event's consequences. An event that does not fit changes nothing."""
    match event:
        case on.LinkUp():
            return _link_up(state, event)
        case on.LinkDown():
            return _link_down(state, event)
        case on.BlobsPublished():
            return _blobs_published(state, event)
        case on.Quarantined():
            return _then_close(patience.waited(state, _quarantined(state, event), event.now_s), event.now_s)
        case on.FrameArrived():
            return frame_arrived(state, event)
        case on.GarbageArrived():
            return garbage_arrived(state, event)
        case on.UpdateRead():
            return _then_close(_update_read(state, event), event.now_s)
        case on.StatusSeen():
            return _then_close(patience.waited(state, status_seen(state, event), event.now_s), event.now_s)
        case on.ServiceSeen():
            return _service_seen(state, event)
        case on.ExportPublished():
            return (replace(state, exported=event.round) if event.round == _model_round(state) else state), []
        case on.RoundClosed():
            return _round_closed(state, event)
        case on.CloseFailed():
            return _close_failed(state, event)
        case on.MeanUnusable():
            return _mean_unusable(state, event)
        case on.Tick():
            return _tick(state, event.now_s)


# ── announcing ─────────────────────────────────────────────────────────────────────────────────────


def _link_up(state: Federation, event: on.LinkUp) -> Step:
    # Everything again, even if our session is still there: a broker that died may have lost the last seconds
    # before it, with frames that it had acknowledged.
    state = replace(state, link_up=True, exported=None, published=False)
    if state.announced and state.phase in (Phase.COLLECTING, Phase.CLOSING):
        state = _time_runs(state, event.now_s)  # it is retained: devices answer while the model is published
    return state, [do.Greet(), do.PublishService(service(state)), _blobs(state)]


def _link_down(state: Federation, event: on.LinkDown) -> Step:
    """The round's time stands still: nobody can hear of it, or answer."""
    effects: list[do.Effect] = []
    if state.since_s is not None:
        state = replace(state, elapsed_s=state.elapsed(event.now_s), since_s=None)
        effects.append(do.SaveElapsed(state.round, state.elapsed_s))
    pushed_out = state.pushed_out + event.taken_over
    return replace(state, link_up=False, published=False, pushed_out=pushed_out), effects


def _time_runs(state: Federation, now_s: float) -> Federation:
    """From now on the round's time runs, and devices are waited for over this connection."""
    return replace(state, since_s=now_s, waiting_from_s=state.elapsed_s, came_s={}, waited_s={})


def _blobs(state: Federation) -> do.PublishBlobs:
    return do.PublishBlobs(state.round, state.task, state.model)


def _blobs_published(state: Federation, event: on.BlobsPublished) -> Step:
    if event.round != state.round or not state.link_up:
        return state, []
    if event.refusal is not None:
        return state, [do.Say("error", f"the broker refuses the model: {event.refusal}")]
    if state.phase is not Phase.DONE and state.since_s is None:
        state = _time_runs(state, event.now_s)
    state = replace(state, published=True, announced=True)
    if state.phase is Phase.PREPARING:
        state = awaited(replace(state, phase=Phase.COLLECTING))
        effects = [*unable(state), *patience.too_few(state), *_manifest_effects(state, event.now_s)]
    else:
        effects = _manifest_effects(state, event.now_s)
    effects.append(do.ClearSlots(state.task.slot, state.model.slot if state.model else None))
    effects += _export(state)
    state, more = _close_if_due(state, event.now_s)
    return state, effects + more


def _export(state: Federation) -> list[do.Effect]:
    """Export the newest model, unless the broker is known to hold it."""
    wanted = state.model is not None and state.exported != _model_round(state)
    return [do.ExportModel(_model_round(state))] if wanted else []


def _model_round(state: Federation) -> RoundId:
    """The round whose model is the newest."""
    if state.phase is Phase.DONE:
        return state.round
    return state.round._replace(round=state.round.round - 1)


def _manifest_effects(state: Federation, now_s: float) -> list[do.Effect]:
    done = state.phase is Phase.DONE
    left_s = 0.0 if done else max(0.0, state.rules.deadline_s - state.elapsed(now_s))
    # The end of a round that only measured is said in words that a device of 0.2.0 knows.
    kind = "train" if done and state.kind == "evaluate" else state.kind
    manifest = Manifest(
        generation=state.round.generation,
        round=state.round.round,
        # After the last round the same round is announced once more, as done.
        attempt=state.attempt + (1 if done else 0),
        kind=kind,
        state="done" if done else "open",
        seed=state.seed,
        task=state.task,
        model=state.model,
        plan=state.plan if kind == "train" else None,
        cohort=state.cohorts[-1],
        seconds_left=left_s,
        requires=tuple(sorted(replace(state, kind=kind).requires)),
        max_samples=state.max_samples,
    )
    return [do.PublishManifest(manifest)]


def _draw(state: Federation) -> Step:
    """Begin the first or the next attempt.

    Once everybody is chosen, no cohort adds anybody: the next attempts have that one, so that a round that
    waits for days takes no more room.
    """
    attempt = state.attempt + 1 if state.cohorts else 0
    state = replace(state, quorum=_quorum(state))
    cohorts = state.cohorts
    if not cohorts or cohorts[-1].fraction < 1:
        cohorts = (*cohorts, _cohort(state, attempt))
    turned_away = state.turned_away & state.quarantined  # the others are asked again
    state = replace(state, attempt=attempt, cohorts=cohorts, elapsed_s=0.0, since_s=None, announced=False)
    state = replace(state, waiting_from_s=0.0, came_s={}, waited_s={}, turned_away=turned_away)
    return state, [do.SaveRound(state.round, state.kind, attempt, cohorts, state.quorum)]


def _quorum(state: Federation) -> int | None:
    rules = state.rules
    return quorum_of(rules.quorum, rules.target, state.online, state.roster, state.quarantined)


def _cohort(state: Federation, attempt: int) -> Cohort:
    """Whom an attempt chooses: more each time, drawn until enough of it is online."""
    fraction = min(1.0, state.rules.fraction * 2.0 ** min(attempt, 60))
    able = [device for device in state.online - state.quarantined if lacks(state, device) == ()]
    wanted = state.rules.target or state.quorum_now
    answering = [device for device in able if not patience.is_given_up(state, device)]
    if len(answering) >= wanted:  # else it takes the others, too
        able = answering
    wanted = min(wanted, len(able))
    best: tuple[int, Cohort] | None = None
    for draw in range(DRAWS if fraction < 1 else 1):
        text = f"{state.seed}|{state.round.generation}|{state.round.round}|{attempt}|{draw}"
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        cohort = Cohort(fraction=fraction, seed=seed)
        reached = sum(chosen(cohort, *state.round, attempt, device) for device in able)
        if best is None or reached > best[0]:
            best = (reached, cohort)
        if reached >= wanted:
            break
    assert best is not None
    return best[1]


def _service_seen(state: Federation, event: on.ServiceSeen) -> Step:
    seen = event.service
    if seen.instance == state.instance:
        # Our own will of an older connection must not stand as the last word.
        repair: list[do.Effect] = [] if seen.online else [do.PublishService(service(state))]
        return state, repair
    # Each of two that use our name pushes the other out, whose will is then all that is heard of it: so it
    # lives, though its beat is never seen to move. Once may be the end of one that has died since.
    pushes = state.pushed_out >= PUSHES
    if not seen.online and not pushes:
        return replace(state, rival=None), [do.PublishService(service(state))]
    # What it said may be left over from before a power cut, or wait in our session: only a beat that moves
    # is alive. Of two that live the smaller instance stays.
    known = state.rival is not None and state.rival.instance == seen.instance
    alive = pushes or (known and state.rival != seen)
    state = replace(state, rival=seen if seen.online else None)
    if not alive:
        return state, []
    if seen.instance > state.instance:
        return state, [do.PublishService(service(state))]
    text = (
        "another aggregator serves this federation "
        f"(instance {seen.instance.hex()[:8]}, ledger {seen.ledger.hex()[:8]}): giving way to it"
    )
    return state, [do.GiveUp(text, gave_way=True)]


# ── closing ────────────────────────────────────────────────────────────────────────────────────────


def _quarantined(state: Federation, event: on.Quarantined) -> Step:
    """Who is lifted, and was refused in this attempt, is asked again if the round needs it."""
    state, effects = quarantined(state, event)
    needed = needed_again(state)
    if not needed:
        return state, effects
    named = ", ".join(sorted(needed)[:NAMED]) + (", …" if len(needed) > NAMED else "")
    one = len(needed) == 1
    why = f"{named} {'counts' if one else 'count'} again, and the round needs {'it' if one else 'them'}"
    state, more = _again(state, event.now_s, why)
    return state, effects + more


def _update_read(state: Federation, event: on.UpdateRead) -> Step:
    known = event.device in state.answers
    state, effects = update_read(state, event)
    if known or event.device not in state.answers:
        return state, effects
    state, more = patience.answered(state, event.device)
    return state, effects + more


def _then_close(taken: Step, now_s: float) -> Step:
    state, effects = taken
    state, closing = _close_if_due(state, now_s)
    return state, effects + closing


def _close_if_due(state: Federation, now_s: float) -> Step:
    if state.phase is not Phase.COLLECTING:
        return state, []
    rules, admitted = state.rules, state.admitted
    late = state.elapsed(now_s) >= rules.deadline_s
    reached = rules.target is not None and admitted >= rules.target
    if admitted >= state.enough and (reached or late or not state.awaited):
        state, effects = (state, []) if reached else patience.in_vain(state, now_s)
        return replace(state, phase=Phase.CLOSING), [*effects, do.CloseRound(state.round, state.kind)]
    if late and not state.published:  # nobody would hear of another attempt: it begins when that is announced
        return replace(state, elapsed_s=state.elapsed(now_s), since_s=None), []
    if late:
        why = f"{admitted} of {state.enough} updates at the deadline"
        return _again(state, now_s, why, patience.unheard(state))
    return state, []


def _again(state: Federation, now_s: float, why: str, more: str = "") -> Step:
    """The round stays open under its number: a wider cohort, a new deadline, what is admitted stays."""
    published = state.published  # else it will be announced when the model is, or over the next connection
    phase = Phase.PREPARING if state.phase is Phase.PREPARING else Phase.COLLECTING
    state, blaming = blame(state)
    state, effects = _draw(replace(state, phase=phase))
    state = replace(state, since_s=now_s if published else None, announced=published)
    if phase is Phase.COLLECTING:
        state = awaited(state)
    text = f"round {state.round}: {why}; attempt {state.attempt} begins{more}"
    far = [d for d, answer in sorted(state.answers.items()) if answer.reason is Reason.TOO_FAR]
    if 2 * len(far) > len(state.answers):
        text += (
            f". Of {len(state.answers)} updates {len(far)} were too far from the model: if they are right, "
            "run `fedge-aggregator new-generation --keep-model`, whose first round has no such bound, or "
            "set a larger [rounds] max_norm and start the aggregator again"
        )
    text += _remedy(state) + _dead_end(state)
    effects.append(do.Say("warning", text))
    return state, [*blaming, *effects, *(_manifest_effects(state, now_s) if published else [])]


def _remedy(state: Federation) -> str:
    """What would close a round that has passed its deadline below quorum, after 1, 2, 4, 8 … attempts."""
    often = state.attempt
    if often & (often - 1) or state.admitted >= state.enough or state.enough != state.quorum_now:
        return ""
    whole = (state.online if state.roster is None else state.roster) - state.quarantined
    return f". If it stays so, {remedy(state.rules.quorum, state.admitted, len(whole))}"


def _dead_end(state: Federation) -> str:
    """The way out of a round that those who are online cannot close, for updates in it were set aside.

    Their devices do not answer it again: in this round they would train to the same update.
    """
    aside = sum(answer.reason is Reason.SET_ASIDE for answer in state.answers.values())
    left = state.online - state.answers.keys()
    if not aside or state.admitted + sum(may_count(state, device) for device in left) >= state.enough:
        return ""
    return (
        f". {aside} of its updates were set aside, and the devices online that may still answer are too few "
        "to close it. To have all answer anew, run `fedge-aggregator new-generation --from-round "
        f"{state.round.round - 1}`; nothing is stopped (docs/keeping.md, A bad model)"
    )


def _round_closed(state: Federation, event: on.RoundClosed) -> Step:
    if event.round != state.round or state.phase is not Phase.CLOSING:
        return state, []
    effects: list[do.Effect] = [
        do.DropSpool(device, partial.id) for device, partial in state.partials.items()
    ]
    count = state.admitted
    state = replace(
        state,
        task=event.task,
        task_message=event.task_message,
        model=event.model,
        base=event.base,
        usual=event.usual,
        progress=event.progress,
        weights=event.task_message.network.schema.size,
        answers={},
        admitted=0,
        insufficient=frozenset(),
        since_s=None,
        published=False,
        partials={},
        spooled=0,
        awaited=frozenset(),
        turned_away=frozenset(),
    )
    if state.kind == "train" and (text := story.missing(state.stopping, state.progress)) is not None:
        effects.append(do.Say("warning", f"round {state.round}: {text}"))
    why = _finished(state)
    if why is not None and not _can_be_measured(state, count):
        state = replace(state, phase=Phase.DONE)
        effects.append(do.Finish(why))
    else:
        following = state.round._replace(round=state.round.round + 1)
        kind: Literal["train", "evaluate"] = "train" if why is None else "evaluate"
        state = replace(state, round=following, kind=kind, phase=Phase.PREPARING, cohorts=())
        state, more = _draw(state)
        effects += more
    return state, [*effects, _blobs(state)] if state.link_up else effects


def _close_failed(state: Federation, event: on.CloseFailed) -> Step:
    if event.round != state.round or state.phase is not Phase.CLOSING:
        return state, []
    state, effects = isolate(replace(state, phase=Phase.COLLECTING))
    state, more = _again(replace(state, insufficient=state.counted), event.now_s, event.detail)
    return state, effects + more


def _mean_unusable(state: Federation, event: on.MeanUnusable) -> Step:
    if event.round != state.round or state.phase is not Phase.CLOSING:
        return state, []
    counted = state.admitted
    state, effects = isolate(replace(state, phase=Phase.COLLECTING))
    if state.admitted < counted:  # the mean was also of these: of the others it says nothing
        return _close_again(state, event.now_s, effects)
    answers = dict(state.answers)
    detail = detail_of(f"{event.detail}, because of this one: it does not count")
    for device in event.devices:
        answers[device] = replace(answers[device], verdict="refused", reason=Reason.SET_ASIDE, detail=detail)
        effects.append(do.SetAside(state.round, device, answers[device]))
        effects.append(do.CountRefusal(device, Reason.SET_ASIDE))
    state = replace(state, answers=answers, admitted=state.admitted - len(event.devices))
    more_of_them = f" and {len(event.devices) - NAMED} more" if len(event.devices) > NAMED else ""
    text = (
        f"round {state.round}: {event.detail}; set aside, for it is because of them: "
        f"{', '.join(event.devices[:NAMED])}{more_of_them}; what they sent in this round does not count"
    )
    effects.append(do.Say("error", text))
    return _close_again(state, event.now_s, effects)


def _close_again(state: Federation, now_s: float, effects: list[do.Effect]) -> Step:
    """Some updates of a round that was closing count no more: compute it of the others, if that is enough."""
    if state.admitted >= state.enough:
        closing = do.CloseRound(state.round, state.kind)
        return replace(state, phase=Phase.CLOSING), [*effects, closing]
    state, more = _again(state, now_s, f"{state.admitted} of {state.enough} updates are left")
    return state, effects + more


def _finished(state: Federation) -> str | None:
    """Why learning is over, where no round is open: a function of the closed ones."""
    reason = state.stopping.reason(state.progress)
    if reason is None:
        return None
    return story.finished(reason, state.progress, state.round.generation)


def _can_be_measured(state: Federation, count: int) -> bool:
    """Whether the newest model, made by so many devices, is one that those who are online can measure."""
    if state.kind != "train" or state.progress.best is None:
        return False
    asking = replace(state, kind="evaluate", round=state.round._replace(round=state.round.round + 1))
    able = sum(may_count(asking, d) and not patience.is_given_up(asking, d) for d in state.online)
    return able > 0 and suffice(able, max(able, speaking_for(count)))


# ── time ───────────────────────────────────────────────────────────────────────────────────────────


def _tick(state: Federation, now_s: float) -> Step:
    effects: list[do.Effect] = []
    if now_s >= state.beat_due_s:
        state = replace(state, beat=(state.beat + 1) % 2**31, beat_due_s=now_s + BEAT_S)
        if state.since_s is not None and state.phase is not Phase.DONE:  # to close may take long
            effects.append(do.SaveElapsed(state.round, state.elapsed(now_s)))
        if state.link_up:
            effects.append(do.PublishService(service(state)))
    state, closing = _close_if_due(state, now_s)
    return state, effects + closing
