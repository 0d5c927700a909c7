"""What the aggregator decides in its rounds: `step(state, event) -> (state, effects)`.

Pure (law 1). Effects are performed in the order they are listed; those in `DURABLE` are committed before
any other effect of the same turn is performed, so a crash loses nothing that was visible outside (law 4).

    PREPARING ──frames acknowledged──► COLLECTING ──target, all answered, or deadline──► CLOSING
        ▲                                 │  ▲ └─ deadline below quorum: attempt + 1 ─┘     │
        └──────────── next round ─────────┴──┴────────── the model is saved ────────────────┤
                                                             stopping rule, measured ──► DONE

Devices measure the model that a round begins with. So once the stopping rule is met, one more round, of the
kind `evaluate`, only measures the newest model. It closes with whatever has arrived at its deadline, and does
not change the model. It is left out if too few devices are online to measure for those who made the model, or
if no round has brought a figure to compare models by.

A deadline counts the time with a connection since the attempt was first announced. Without a connection the
time stands still, and the next attempt begins when it can be announced. So devices can hear of every attempt.
A device that lets deadlines pass is given up (`aggregator.core.patience`).

CLOSING lasts as long as the rule computes, and everything else goes on: a device whose update arrives is told
to send it again. If there is no model in the end, the round is COLLECTING again, with the next attempt. If
some updates make the mean unusable, they are set aside; with enough others the round stays CLOSING, and is
computed from those.
"""

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import exchange, patience
from aggregator.core.announcement import (
    acknowledged,
    blobs_published,
    link_down,
    link_up,
    model_round,
    service,
)
from aggregator.core.arrivals import updates_arrived
from aggregator.core.attempts import again, draw
from aggregator.core.awaited import admitted, noted
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.isolation import needed_again, quarantined
from aggregator.core.other_leaders import service_seen
from aggregator.core.partials import frame_arrived, garbage_arrived
from aggregator.core.quorum import next_quorum
from aggregator.core.round_end import close_failed, close_if_due, finished, mean_unusable, round_closed
from aggregator.core.statuses import status_seen
from aggregator.core.updates import update_read
from fedge.frozen import replace

BEAT_S = 10.0
NAMED = 20
"""The largest number of devices named in one line."""


def due_s(state: Federation) -> float:
    """When a `Tick` is wanted next."""
    if state.stage is Stage.COLLECTING and state.since_s is not None:
        return min(state.beat_due_s, state.since_s + state.rules.deadline_s - state.elapsed_s)
    due = exchange.due_s(state)
    return state.beat_due_s if due is None else min(state.beat_due_s, due)


def start(state: Federation, now_s: float) -> Step:
    """Begin with the state from the ledger: announce the open round, or that learning is done."""
    state = replace(state, beat_due_s=now_s + BEAT_S)
    if state.stage is Stage.DONE and (why := finished(state)) is not None:
        return state, [do.Complete(why)]
    if not state.cohorts:
        return draw(state)
    if (
        state.quorum is None and (quorum := next_quorum(state)) is not None
    ):  # it was drawn while the quorum was a number
        saved = do.SaveRound(state.round, state.kind, state.attempt, state.cohorts, quorum)
        return replace(state, quorum=quorum), [saved, do.SaveElapsed(state.round, state.elapsed_s)]
    return state, []


def step(state: Federation, event: on.Event) -> Step:
    """Handle one event. An event that does not fit the state changes nothing."""
    match event:
        case on.LinkUp():
            return link_up(state, event)
        case on.LinkDown():
            return link_down(state, event)
        case on.BlobsPublished():
            taken = blobs_published(state, event)
            return taken if taken[0] is state else _then_close(taken, event.now_s)
        case on.Announced():
            return acknowledged(state, event)
        case on.Quarantined():
            taken = _quarantined(state, event)
            moved = state.awaited ^ taken[0].awaited
            return _then_close(patience.waited(state, taken, event.now_s, moved), event.now_s)
        case on.FrameArrived():
            return frame_arrived(state, event)
        case on.GarbageArrived():
            return garbage_arrived(state, event)
        case on.UpdateRead():
            return _then_close(_update_read(state, event), event.now_s)
        case on.UpdatesArrived():
            return updates_arrived(state, event, step)
        case on.MaskingRead():
            return exchange.taken(state, event)
        case on.StatusSeen():
            taken = status_seen(state, event)
            if event.device not in state.online:
                back, owed = exchange.greeted(taken[0], event.device)
                taken = back, [*taken[1], *owed]
            return _then_close(patience.waited(state, taken, event.now_s, (event.device,)), event.now_s)
        case on.ServiceSeen():
            return service_seen(state, event)
        case on.ExportPublished():
            return (replace(state, exported=event.round) if event.round == model_round(state) else state), []
        case on.RoundClosed():
            return round_closed(state, event)
        case on.CloseFailed():
            return close_failed(state, event)
        case on.MeanUnusable():
            return mean_unusable(state, event)
        case on.Tick():
            return _tick(state, event.now_s)


def _quarantined(state: Federation, event: on.Quarantined) -> Step:
    """Handle a change of the quarantine; begin the next attempt if the round needs lifted devices."""
    state, effects = quarantined(state, event)
    needed = needed_again(state)
    if not needed:
        return state, effects
    named = ", ".join(sorted(needed)[:NAMED]) + (", …" if len(needed) > NAMED else "")
    one = len(needed) == 1
    why = f"{named} {'counts' if one else 'count'} again, and the round needs {'it' if one else 'them'}"
    state, more = again(state, event.now_s, why)
    return state, effects + more


def _update_read(state: Federation, event: on.UpdateRead) -> Step:
    known = state.answers.get(event.device)
    state, effects = update_read(state, event)
    if state.answers.get(event.device) is known:
        return state, effects
    state, more = patience.answered(state, event.device)
    if state.stage is Stage.COLLECTING:
        is_admitted = state.answers[event.device].verdict == "admitted"
        state = (admitted if is_admitted else noted)(state, event.device)
    return state, effects + more


def _then_close(taken: Step, now_s: float) -> Step:
    state, effects = taken
    state, closing = close_if_due(state, now_s)
    return state, effects + closing


def _tick(state: Federation, now_s: float) -> Step:
    effects: list[do.Effect] = []
    if now_s >= state.beat_due_s:
        state = replace(state, beat=(state.beat + 1) % 2**31, beat_due_s=now_s + BEAT_S)
        if state.since_s is not None and state.stage is not Stage.DONE:  # closing may take long
            effects.append(do.SaveElapsed(state.round, state.elapsed(now_s)))
        if state.link_up:
            effects.append(do.PublishService(service(state)))
    state, closing = close_if_due(state, now_s)
    state, exchanged = exchange.ticked(state, now_s)
    return state, effects + closing + exchanged
