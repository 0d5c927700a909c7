"""Quarantine: devices that the operator has set aside get answers, but are not awaited or counted. Pure.

It takes effect at once: their admitted updates no longer count in the open round. A round that is closing
does not change, because the set of updates that make its model is fixed.
"""

from collections.abc import Set

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.awaited import counted_anew
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.per_device import Devices
from aggregator.core.quorum import updates_needed
from aggregator.core.receipts import SET_ASIDE
from fedge.frozen import replace
from fedge.wire.frames import cost
from fedge.wire.reasons import Reason

NAMED = 20
"""The largest number of devices named in one line."""


def quarantined(state: Federation, event: on.Quarantined) -> Step:
    """Handle a change of the quarantine."""
    added, lifted = event.devices - state.quarantined, state.quarantined - event.devices
    state = replace(state, quarantined=event.devices)
    effects: list[do.Effect] = []
    if added:
        text = f"{_names(added)} set aside: rounds do not count or await them until `fedge quarantine --lift`"
        effects.append(do.Log("warning", text))
    if lifted:
        effects.append(do.Log("info", f"{_names(lifted)} no longer set aside: new updates count again"))
    state, more = isolate(state)
    effects += more
    state, more = _release(state)
    if state.stage is Stage.COLLECTING:
        state = counted_anew(state)
    return state, effects + more


def needed_again(state: Federation) -> Set[str]:
    """Devices whose quarantine ended after a refusal in the open attempt, if it cannot close without them."""
    lifted = state.turned_away - state.quarantined
    if not lifted or state.stage not in (Stage.PREPARING, Stage.COLLECTING):
        return Devices()
    return lifted if state.admitted + len(counted_anew(state).awaited) < updates_needed(state) else Devices()


def _release(state: Federation) -> Step:
    """Remove the refusals of devices that are no longer set aside, also if a restart lies between.

    They send their update again in the next attempt.
    """
    if state.stage is Stage.DONE:
        return state, []
    effects: list[do.Effect] = []
    answers, turned_away, begun = state.answers, state.turned_away, state.begun
    for device, answer in state.answers.items():
        if answer.reason is Reason.QUARANTINED and device not in state.quarantined:
            answers, turned_away = answers.drop(device), turned_away.put(device)
            if device in begun:
                made_for = state.round.round if answer.began is None else answer.began
                begun = begun.put(device, made_for - 1)
            effects.append(do.DropAnswer(state.round, device, answer.digest))
    return replace(state, answers=answers, turned_away=turned_away, begun=begun), effects


def isolate(state: Federation) -> Step:
    """Let no update of a device in quarantine count in the open round."""
    effects: list[do.Effect] = []
    for device in sorted(state.quarantined):
        if (partial := state.partials.get(device)) is not None:
            spooled = state.spooled - cost(partial.size, partial.n)
            state = replace(state, partials=state.partials.drop(device), spooled=spooled)
            effects.append(do.DropSpool(device, partial.id))
    answers = state.answers
    counted = [d for d in sorted(state.quarantined) if d in answers and answers[d].verdict == "admitted"]
    if counted and state.stage is Stage.CLOSING:
        text = f"round {state.round} is closing already: updates of {', '.join(counted)} still count in it"
        return state, [*effects, do.Log("warning", text)]
    for device in counted if state.stage is not Stage.DONE else ():
        answer = answers[device].refused(Reason.QUARANTINED, SET_ASIDE)
        state = state.answered(device, answer)
        effects += [
            do.SaveAnswer(state.round, device, answer),
            do.DropSpool(device, answer.digest),
            do.Log("warning", f"round {state.round}: the update of {device} no longer counts"),
        ]
    return state, effects


def _names(devices: frozenset[str]) -> str:
    named = ", ".join(sorted(devices)[:NAMED]) + (", …" if len(devices) > NAMED else "")
    return f"{named} {'is' if len(devices) == 1 else 'are'}"
