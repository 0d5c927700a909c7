"""When everybody declines because training fails, it is no device's data: the model is bad. Pure."""

from dataclasses import replace

from aggregator import effects as do
from aggregator.ability import lacks
from aggregator.federation import Federation, Phase, Step
from fedge.freshness import RoundId, round_of
from fedge.reasons import Reason
from fedge.selection import chosen

FAILURES = frozenset({Reason.TRAINING_DIVERGED, Reason.FAILED})
"""Why a device declines that could not train from the model."""


def blame(state: Federation, device: str) -> Step:
    """Say, once a round, that its model is bad, if all who are chosen and online failed to train from it.

    Asked when `device`, which was awaited until now, declines; while others are, nothing is looked for.

    They are as many as the quorum, and nobody's update was admitted: one device alone says nothing about it.
    """
    if state.kind != "train" or state.phase is not Phase.COLLECTING or state.blamed == state.round:
        return state, []
    if not state.awaited <= {device}:
        return state, []
    cohort = state.cohorts[-1]
    asked = [
        device
        for device in state.online
        if chosen(cohort, *state.round, state.attempt, device) and lacks(state, device) == ()
    ]
    if state.admitted or len(asked) < state.rules.quorum or not all(_failed(state, each) for each in asked):
        return state, []
    return replace(state, blamed=state.round), [do.Say("error", _text(state, len(asked)))]


def _failed(state: Federation, device: str) -> bool:
    declined = state.declined.get(device)
    return (
        declined is not None
        and (round_of(declined), declined.attempt) == (state.round, state.attempt)
        and declined.reason in FAILURES
    )


def _text(state: Federation, devices: int) -> str:
    model = RoundId(state.round.generation, state.round.round - 1)
    begin = f"round {state.round}: all {devices} chosen devices that are online fail to train from the model "
    if model.round == 0:
        return begin + (
            "that training begins with: [plan] learning_rate is too high, or what the survey measured is "
            "wrong. Lower it, or run `fedge-aggregator new-generation` (docs/keeping.md)"
        )
    return begin + (
        f"of round {model}: that model is bad. Unless [plan] was changed since, its learning rate is not to "
        "blame, whatever they say. `fedge-aggregator new-generation --from-round N` goes back to the model "
        "of a round before it (docs/keeping.md, A bad model)"
    )
