"""Updates that arrive together: those that nothing is unusual about are admitted together. Pure.

In a round of many devices nearly every update is the first of its device, comes in one frame, and is
admitted. What the open round says about such an update is the same for all of them, so it is found once for
all. Every other update is handled by itself (`one_by_one`), which is also what the others amount to: the
state, the effects and their order are the same.
"""

from collections.abc import Callable, Sequence

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.ability import requirements
from aggregator.core.admission import Admitted, admit_all
from aggregator.core.buffering import is_buffered
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.partials import SPOOL_BYTES
from aggregator.core.receipts import receipt_of
from aggregator.core.round_end import close_if_due
from aggregator.core.update_limits import max_bytes
from aggregator.core.updates import terms_of, verdict_of
from aggregator.core.verdicts import Verdict
from fedge.frozen import replace
from fedge.wire.capabilities import BASE
from fedge.wire.frames import cost
from fedge.wire.reasons import Rejection

Machine = Callable[[Federation, on.Event], Step]


def updates_arrived(state: Federation, event: on.UpdatesArrived, step: Machine) -> Step:
    """Handle updates that arrived together; `step` handles one event."""
    now_s, rest = event.now_s, event.updates
    effects: list[do.Effect] = []
    terms, judged = None, list[Admitted | Rejection]()
    while rest:
        count = min(len(rest), _room(state, now_s))
        if count:
            if terms is not terms_of(state):
                terms = terms_of(state)
                judged = admit_all(terms, [(each.device, each.message) for each in rest])
            count = _ordinary(state, rest[:count], judged)
        if count:
            state, more = _admitted(state, rest[:count], judged)
            state, closing = close_if_due(state, now_s)
            effects += more + closing
        else:
            count = 1
            state, more = one_by_one(state, replace(event, updates=rest[:1]), step)
            effects += more
        rest, judged = rest[count:], judged[count:]
    return state, effects


def one_by_one(state: Federation, event: on.UpdatesArrived, step: Machine) -> Step:
    """Handle updates by an event for each frame, and one for each update whose frame is kept."""
    done: list[do.Effect] = []
    for device, frame, message in event.updates:
        state, effects = step(state, on.FrameArrived(event.now_s, device, frame))
        for effect in effects:
            if isinstance(effect, do.ReadUpdate):
                state, more = step(state, on.UpdateRead(event.now_s, device, frame.id, message))
                done += more
            else:
                done.append(effect)
    return state, done


def _room(state: Federation, now_s: float) -> int:
    """How many ordinary updates the open round takes before it may close; the last of them may close it.

    0: in this state no update is ordinary.
    """
    rules = state.rules
    if (
        state.stage is not Stage.COLLECTING
        or state.kind != "train"
        or state.exchange is not None
        or state.is_summed
        or state.insufficient
        or state.left_s
        or is_buffered(state)
        or state.elapsed(now_s) >= rules.deadline_s
    ):
        return 0
    room = len(state.awaited)
    return room if rules.target is None else max(0, min(room, rules.target - state.admitted))


def _ordinary(
    state: Federation, updates: Sequence[on.WholeUpdate], judged: Sequence[Admitted | Rejection]
) -> int:
    """How many of these updates are ordinary, from the first on."""
    most, needed, seen = max_bytes(state), requirements(state), set[str]()
    for (device, frame, _), verdict in zip(updates, judged, strict=False):
        if (
            not isinstance(verdict, Admitted)
            or device in seen
            or device not in state.asked
            or device in state.answers
            or device in state.failing
            or (state.roster is not None and device not in state.roster)
            or device in state.quarantined
            or not needed <= state.abilities.get(device, BASE)
            or frame.size > most
            or device in state.partials
            or state.spooled + cost(frame.size, frame.n) > SPOOL_BYTES
            or device in state.missed
            or device in state.waited_s
            or device in state.vain_s
            or bool(int(verdict.figures.get("held_unseen", 0))) != (device in state.unseen)
        ):
            break
        seen.add(device)
    return len(seen)


def _admitted(
    state: Federation, updates: Sequence[on.WholeUpdate], judged: Sequence[Admitted | Rejection]
) -> Step:
    """Admit updates that are ordinary."""
    effects: list[do.Effect] = []
    answers: dict[str, Verdict] = {}
    receipt = receipt_of(state, updates[0].frame.id, "admitted")
    for (device, frame, message), verdict in zip(updates, judged, strict=False):
        assert isinstance(verdict, Admitted)
        answer = verdict_of(frame.id, message, verdict, None)
        answers[device] = answer.without_figures()
        effects.append(do.SpoolFrame(device, frame))
        effects.append(do.SaveAnswer(state.round, device, answer))
        effects.append(do.SendReceipt(device, receipt.model_copy(update={"update": frame.id})))
    state = replace(
        state,
        answers=state.answers.put_all(answers),
        admitted=state.admitted + len(answers),
        awaited=state.awaited.drop_all(answers),
    )
    return state, effects
