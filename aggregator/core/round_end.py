"""The end of a round: when it closes, and what follows, with a new model or without. Pure."""

from aggregator.aggregation.figures import speaking_for, suffice
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import exchange, patience, round_log
from aggregator.core.ability import may_count
from aggregator.core.announcement import blobs_of
from aggregator.core.attempts import again, draw
from aggregator.core.buffering import earlier_after, is_buffered
from aggregator.core.federation import Federation, Stage, Step, with_charges
from aggregator.core.isolation import isolate
from aggregator.core.per_device import Devices, PerDevice
from aggregator.core.quorum import updates_needed
from aggregator.phases.phase import phase_of
from fedge.frozen import replace
from fedge.wire.frames import Partial
from fedge.wire.messages.fields import detail_of
from fedge.wire.reasons import Reason

NAMED = 20
"""The largest number of devices named in one line."""


def close_if_due(state: Federation, now_s: float) -> Step:
    """Close the round if it is due, or begin its next attempt."""
    if state.stage is not Stage.COLLECTING:
        return state, []
    if state.exchange is not None:  # from before a restart
        return exchange.resumed(state, now_s)
    if state.is_summed:
        return replace(state, stage=Stage.CLOSING), [do.CloseRound(state.round, state.kind)]
    rules, admitted = state.rules, state.admitted
    late = state.elapsed(now_s) >= rules.deadline_s
    # Of buffered rounds only a version closes at its target: a survey is to be of the whole fleet.
    has_target = rules.target is not None and (rules.max_staleness is None or is_buffered(state))
    reached = has_target and rules.target is not None and admitted >= rules.target
    if (reached or late or not state.awaited) and admitted >= updates_needed(state):
        if state.kind == "masked":
            return _exchange_if_due(state, now_s, late=late, reached=reached)
        state, effects = (state, []) if reached else patience.in_vain(state, now_s)
        return replace(state, stage=Stage.CLOSING), [*effects, do.CloseRound(state.round, state.kind)]
    if late and not state.published:  # the next attempt begins when it can be announced
        return replace(state, elapsed_s=state.elapsed(now_s), since_s=None), []
    if late:
        why = f"{admitted} of {updates_needed(state)} updates at the deadline"
        return again(state, now_s, why, patience.unheard(state))
    return state, []


def _exchange_if_due(state: Federation, now_s: float, *, late: bool, reached: bool) -> Step:
    """Begin secure aggregation once enough of the devices that have promised an update are online."""
    if state.elapsed(now_s) < exchange.pause_s(state.attempt):
        return state, []
    if exchange.can_begin(state, updates_needed(state)):
        state, effects = (state, []) if reached else patience.in_vain(state, now_s)
        state, more = exchange.begin(state, now_s)
        return state, [*effects, *more]
    if not late or not state.published:
        return state, []
    there = len(exchange.candidates(state))
    return again(state, now_s, f"{there} of the {state.admitted} devices that promised an update are online")


def round_closed(state: Federation, event: on.RoundClosed) -> Step:
    """Open the next round after the model is saved, or end."""
    if event.round != state.round or state.stage is not Stage.CLOSING:
        return state, []
    # A buffered update that is on its way counts in the next version, so its frames stay.
    partials, spooled = (state.partials, state.spooled) if is_buffered(state) else (PerDevice[Partial](), 0)
    dropped = [] if partials else state.partials.items()
    effects: list[do.Effect] = [do.DropSpool(device, partial.id) for device, partial in dropped]
    count = state.admitted
    state = replace(
        state,
        task=event.task,
        task_message=event.task_message,
        model=event.model,
        form=event.form,
        base=event.base,
        clusters=event.clusters,
        usual=event.usual,
        progress=event.progress,
        protection=with_charges(state.protection, event.charges),
        weights=event.task_message.network.schema.size,
        answers=PerDevice(),
        admitted=0,
        insufficient=frozenset(),
        untried=0,
        since_s=None,
        published=False,
        partials=partials,
        spooled=spooled,
        earlier=earlier_after(state),
        awaited=Devices(),
        asked=Devices(),
        failing=Devices(),
        turned_away=Devices(),
        promised=PerDevice(),
        exchange=None,
        is_summed=False,
    )
    if (
        phase_of(state.kind).trains
        and (text := round_log.missing(state.stopping, state.progress)) is not None
    ):
        effects.append(do.Log("warning", f"round {state.round}: {text}"))
    why = finished(state)
    if why is not None and not _can_be_measured(state, count):
        state = replace(state, stage=Stage.DONE)
        effects.append(do.Complete(why))
    else:
        following = state.round._replace(round=state.round.round + 1)
        kind = state.training_kind if why is None else "evaluate"
        state = replace(state, round=following, kind=kind, stage=Stage.PREPARING, cohorts=())
        state, more = draw(state)
        effects += more
    return state, [*effects, blobs_of(state)] if state.link_up else effects


def close_failed(state: Federation, event: on.CloseFailed) -> Step:
    """Begin the next attempt, because the admitted updates make no model."""
    if event.round != state.round or state.stage is not Stage.CLOSING:
        return state, []
    state = replace(state, protection=with_charges(state.protection, event.charges))
    state, effects = isolate(replace(state, stage=Stage.COLLECTING))
    state, more = again(replace(state, insufficient=state.counted, untried=0), event.now_s, event.detail)
    return state, effects + more


def mean_unusable(state: Federation, event: on.MeanUnusable) -> Step:
    """Set aside the updates that make the mean unusable, and compute it from the others."""
    if event.round != state.round or state.stage is not Stage.CLOSING:
        return state, []
    counted = state.admitted
    state, effects = isolate(replace(state, stage=Stage.COLLECTING))
    if state.admitted < counted:  # that mean included these, so it says nothing about the others
        return _close_again(state, event.now_s, effects)
    detail = detail_of(f"{event.detail}; this update is a cause of that, so it does not count")
    for device in event.devices:
        answer = state.answers[device].refused(Reason.SET_ASIDE, detail)
        state = state.answered(device, answer)
        effects.append(do.SetAside(state.round, device, answer))
        effects.append(do.CountRefusal(device, Reason.SET_ASIDE))
    more_of_them = f" and {len(event.devices) - NAMED} more" if len(event.devices) > NAMED else ""
    text = (
        f"round {state.round}: {event.detail}; the updates that cause this are set aside and do not count: "
        f"{', '.join(event.devices[:NAMED])}{more_of_them}"
    )
    effects.append(do.Log("error", text))
    return _close_again(state, event.now_s, effects)


def _close_again(state: Federation, now_s: float, effects: list[do.Effect]) -> Step:
    """Compute the model from the other updates, if they are enough; else begin the next attempt."""
    if state.admitted >= updates_needed(state):
        closing = do.CloseRound(state.round, state.kind)
        return replace(state, stage=Stage.CLOSING), [*effects, closing]
    state, more = again(state, now_s, f"{state.admitted} of {updates_needed(state)} updates are left")
    return state, effects + more


def finished(state: Federation) -> str | None:
    """The reason why learning is done; None: it goes on. A function of the closed rounds."""
    reason = state.stopping.reason(state.progress) or _spent(state)
    if reason is None:
        return None
    return round_log.finished(reason, state.progress, state.round.generation)


def _spent(state: Federation) -> str | None:
    """That all declared releases are charged: a round that made no model may have been charged, too."""
    privacy = state.protection.privacy if state.protection is not None else None
    if privacy is None or privacy.witness.number < privacy.rounds:
        return None
    return f"all {privacy.rounds} declared releases are charged"


def _can_be_measured(state: Federation, count: int) -> bool:
    """Whether enough devices are online to measure the newest model, which `count` devices made."""
    if not phase_of(state.kind).trains or state.progress.best is None:
        return False
    asking = replace(state, kind="evaluate", round=state.round._replace(round=state.round.round + 1))
    able = sum(may_count(asking, d) and not patience.is_given_up(asking, d) for d in state.online)
    return able > 0 and suffice(able, max(able, speaking_for(count)))
