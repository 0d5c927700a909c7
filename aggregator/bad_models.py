"""When most devices decline because training fails, it is no device's data: the model is bad. Pure.

They are most of those who were asked, which are all that are chosen and may count, and have answered
or are online and not given up; and the others are too few to close the round. One device alone says
nothing about a model, unless it is the whole quorum.
"""

from dataclasses import replace

from aggregator import effects as do
from aggregator.ability import may_count
from aggregator.federation import Federation, Phase, Step
from aggregator.patience import is_given_up
from fedge.freshness import RoundId, round_of
from fedge.reasons import Reason
from fedge.selection import chosen

FAILURES = frozenset({Reason.TRAINING_DIVERGED, Reason.FAILED})
"""Why a device declines that could not train from the model."""


def declines(state: Federation, device: str) -> Step:
    """`device`, which was awaited until now, declines: are the others too few without those who fail?"""
    if state.admitted + len(state.awaited - {device}) >= state.enough:
        return state, []
    return blame(state)


def blame(state: Federation) -> Step:
    """Say, once a round, that its model is bad, if most of those who were asked failed to train from it."""
    if state.kind != "train" or state.phase is not Phase.COLLECTING or state.blamed == state.round:
        return state, []
    failing = {device for device in state.declined if _failed(state, device) and _asked(state, device)}
    if len(failing) < min(2, state.quorum_now):
        return state, []
    asked = len(failing)
    for device in (state.online | state.answers.keys()) - failing:
        asked += _asked(state, device) and not is_given_up(state, device)
    if 2 * len(failing) <= asked or asked - len(failing) >= state.enough:
        return state, []
    return replace(state, blamed=state.round), [do.Say("error", _text(state, len(failing), asked))]


def _asked(state: Federation, device: str) -> bool:
    """Whether the round asks a device that is there."""
    there = device in state.online or device in state.answers
    return (
        there and may_count(state, device) and chosen(state.cohorts[-1], *state.round, state.attempt, device)
    )


def _failed(state: Federation, device: str) -> bool:
    declined = state.declined.get(device)
    return (
        device not in state.answers
        and declined is not None
        and (round_of(declined), declined.attempt) == (state.round, state.attempt)
        and declined.reason in FAILURES
    )


def way_back(bad: RoundId) -> str:
    """What to do about the model of a round, in words: go back to that of the round before."""
    before = f" --from-round {bad.round - 1}" if bad.round > 0 else ""
    return f"run `fedge-aggregator new-generation{before}`; nothing is stopped (docs/keeping.md, A bad model)"


def _text(state: Federation, failed: int, asked: int) -> str:
    model = RoundId(state.round.generation, state.round.round - 1)
    begin = f"round {state.round}: {failed} of {asked} devices that were asked fail to train from the model "
    if model.round == 0:
        return begin + (
            "that training begins with: [plan] learning_rate is too high, or what the survey measured is "
            f"wrong. Lower it, or {way_back(model)}"
        )
    return begin + (
        f"of round {model}: that model is bad. Unless [plan] was changed since, its learning rate is not to "
        f"blame, whatever they say. To go back, {way_back(model)}"
    )
