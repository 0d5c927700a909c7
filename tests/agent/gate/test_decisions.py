"""The owner's gate: which models pass it, and what the device decides then."""

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from agent.core import effects as do
from agent.core import events as on
from agent.core import lifecycle
from agent.core.device import Device as Core
from agent.core.gate import compare
from agent.core.lifecycle import due_s, step
from fedge.data.scores import classification, regression
from tests.agent.lifecycle.stories import CONNECTED, FRESH, HOLDS, announced, done, model_of, story
from tests.agent.lifecycle.stories import manifest as announcement
from tests.wording import assert_tells

# ── the verdict ────────────────────────────────────────────────────────────────────────────────────


def right(of_ten: int) -> Any:
    truth = np.zeros(10, int)
    return classification(truth, np.where(np.arange(10) < of_ten, 0, 1), ("a", "b"))


def off_by(error: float, *, unanswered: int = 0, target: str = "t") -> Any:
    truth = np.arange(10.0)[:, None]
    answers = truth + error
    answers[:unanswered] = np.nan
    return regression(truth, answers, (target,))


@pytest.mark.parametrize(
    ("used", "new", "tolerance", "accepted"),
    [
        (right(9), right(9), 0.0, True),
        (right(9), right(8), 0.0, False),
        (right(9), right(8), 0.1, True),  # though 0.9 - 0.1 is more than 0.8 in binary
        (right(9), right(7), 0.1, False),
        (right(5), right(9), 0.0, True),
        (off_by(2), off_by(2.2), 0.1, True),
        (off_by(2), off_by(2.3), 0.1, False),
        (off_by(2), off_by(-1), 0.0, True),
        (off_by(0), off_by(0), 0.0, True),
        (off_by(0), off_by(1e-3), 9.0, False),
        (off_by(2), off_by(0, unanswered=1), 0.1, False),  # who is silent on what is hard has a small error
        (off_by(2, unanswered=1), off_by(2, unanswered=1), 0.1, True),
        (off_by(2), "no rows are held out", 0.1, False),
        ("there is no column 'x'", right(1), 0.1, True),
        ("there is no column 'x'", "no rows are held out", 0.1, False),
        (right(9), off_by(99), 0.1, True),
        (off_by(2), off_by(99, target="u"), 0.1, True),
    ],
)
def test_what_is_accepted(used: Any, new: Any, tolerance: float, accepted: bool) -> None:
    verdict = compare(used, new, tolerance)
    assert verdict.accepted == accepted
    assert verdict.why


# ── the decisions ──────────────────────────────────────────────────────────────────────────────────

GATED = replace(HOLDS, gated=True, used=model_of(1))


def kept(round_: int, state: Core = GATED) -> Core:
    """The device has worked in a round and kept the model that the round began with."""
    state, _ = story(
        state,
        announced(announcement(round_)),
        on.Fetched(0.0, "model", model_of(round_)),
        done(round_),
    )
    assert state.kept == model_of(round_)
    return state


def test_without_a_gate_nothing_is_judged() -> None:
    state = kept(2, HOLDS)
    assert step(state, on.Tick(0.0)) == (state, [])
    assert lifecycle.status(state).uses is None


def test_a_kept_model_is_judged_at_once_and_used_if_it_passes() -> None:
    state = kept(2)
    assert due_s(state) == -np.inf
    state, effects = step(state, on.Tick(0.0))
    assert effects == [do.JudgeModel(model_of(2))]
    assert lifecycle.status(state).uses == model_of(1)
    assert step(state, on.Tick(0.0))[1] == []  # once
    state, effects = step(state, on.Judged(model_of(2), True, "better"))
    assert [type(effect) for effect in effects] == [do.UseModel, do.Log, do.PublishStatus]
    assert (effects[0], state.used) == (do.UseModel(model_of(2)), model_of(2))
    assert lifecycle.status(state).uses is None
    assert step(state, on.Tick(0.0))[1] == []


def test_one_that_does_not_pass_is_said_once_and_learning_goes_on() -> None:
    state, _ = story(kept(2), on.Tick(0.0))
    state, effects = step(state, on.Judged(model_of(2), False, "worse"))
    assert [type(effect) for effect in effects] == [do.Log, do.PublishStatus]
    assert_tells(cast(do.Log, effects[0]).text, "worse")
    assert (state.used, state.kept) == (model_of(1), model_of(2))
    assert lifecycle.status(state).uses == model_of(1)
    assert step(state, on.Tick(0.0))[1] == []
    state, effects = story(state, announced(announcement(3)), on.Fetched(0.0, "model", model_of(3)))
    assert do.StartWork(announcement(3)) in effects


def test_what_comes_while_one_is_judged_is_judged_after_it() -> None:
    state, _ = story(kept(2), on.Tick(0.0))
    state = kept(3, state)
    assert step(state, on.Tick(0.0))[1] == []
    state, _ = step(state, on.Judged(model_of(2), True, "better"))
    assert (state.used, lifecycle.status(state).uses) == (model_of(2), model_of(2))
    assert step(state, on.Tick(0.0))[1] == [do.JudgeModel(model_of(3))]


def test_a_verdict_on_another_model_changes_nothing() -> None:
    state, _ = story(kept(2), on.Tick(0.0))
    assert step(state, on.Judged(model_of(1), True, "")) == (state, [])
    assert step(GATED, on.Judged(model_of(2), True, "")) == (GATED, [])


def test_the_first_model_is_used_without_being_judged() -> None:
    first = replace(CONNECTED, gated=True, task=HOLDS.task)
    state, effects = story(
        first, announced(announcement()), on.Fetched(0.0, "model", model_of(1)), done(), on.Tick(0.0)
    )
    assert effects == [do.UseModel(model_of(1))]
    assert (state.used, lifecycle.status(state).uses) == (model_of(1), None)


def test_after_a_restart_it_is_judged_what_was_not() -> None:
    state = replace(FRESH, gated=True, task=HOLDS.task, model=model_of(2), kept=model_of(2), used=model_of(1))
    assert due_s(state) == -np.inf  # also without a link
    assert step(state, on.Tick(0.0))[1] == [do.JudgeModel(model_of(2))]


def test_a_model_that_was_not_kept_is_not_judged() -> None:
    state, _ = step(kept(2), on.KeepFailed(0.0))
    assert step(state, on.Tick(0.0))[1] == []


def test_a_model_whose_task_is_not_at_hand_any_more_is_not_judged() -> None:
    state = replace(kept(2), task=b"another" * 4)
    assert step(state, on.Tick(0.0))[1] == []


def test_a_disk_that_does_not_take_it_leaves_the_one_before_in_use_and_is_not_asked_again() -> None:
    state, _ = story(kept(2), on.Tick(0.0), on.Judged(model_of(2), True, "better"))
    state, effects = step(state, on.UseFailed(model_of(1)))
    assert (state.used, effects) == (model_of(1), [])
    assert step(state, on.Tick(0.0))[1] == []
    assert lifecycle.status(state).uses == model_of(1)
    assert step(kept(3, state), on.Tick(0.0))[1] == [do.JudgeModel(model_of(3))]
