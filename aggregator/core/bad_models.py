"""A bad model: most devices decline because training from it fails. Pure.

A model is bad if most of the asked devices fail, and the others are too few to close the round. Asked are all
devices that are chosen and may count, and that have answered or are online and not given up. One device alone
is no evidence, unless it is the whole quorum.
"""

from aggregator.core import effects as do
from aggregator.core.federation import Federation, Stage, Step
from aggregator.core.quorum import quorum_now, updates_needed
from aggregator.core.round_log import way_back
from aggregator.phases.phase import phase_of
from fedge.frozen import replace
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason

FAILURES = frozenset({Reason.TRAINING_DIVERGED, Reason.FAILED})
"""The reasons with which a device declines if it could not train from the model."""


def declines(state: Federation) -> Step:
    """Handle the decline of an awaited device, after which the others may be too few to close the round."""
    if state.admitted + len(state.awaited) >= updates_needed(state):
        return state, []
    return blame(state)


def blame(state: Federation) -> Step:
    """Log once a round that its model is bad, if most of the asked devices failed to train from it."""
    if not phase_of(state.kind).trains or state.stage is not Stage.COLLECTING or state.blamed == state.round:
        return state, []
    failing, asked = len(state.failing), len(state.asked)
    if failing < min(2, quorum_now(state)):
        return state, []
    if 2 * failing <= asked or asked - failing >= updates_needed(state):
        return state, []
    return replace(state, blamed=state.round), [do.Log("error", _text(state, failing, asked))]


def _text(state: Federation, failed: int, asked: int) -> str:
    model = RoundId(state.round.generation, state.round.round - 1)
    begin = f"round {state.round}: {failed} of {asked} devices that were asked fail to train from the model "
    if model.round == 0:
        return begin + (
            "that training begins with: [plan] learning_rate is too high, or the survey's statistics are "
            f"wrong. Lower the learning rate, or {way_back(model)}"
        )
    return begin + (
        f"of round {model}: that model is bad. Unless [plan] was changed since, its learning rate is not the "
        f"cause, although devices may name it. To go back, {way_back(model)}"
    )
