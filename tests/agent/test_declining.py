"""What a device's owner allows decides whether it takes up a round: at once, later, or not at all."""

from dataclasses import replace
from typing import Any

import pytest

from agent.core import effects as do
from agent.core import events as on
from agent.core.conditions import Readings
from agent.core.device import Device, Fetching, Idle, Reporting, Working
from agent.core.lifecycle import due_s, step
from agent.core.lifecycle.conditions import MEASURE_AGAIN_S
from agent.settings.conditions import ConditionsSettings
from agent.settings.limits import LimitsSettings
from fedge.algorithms.plan import Plan
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import (
    CONNECTED,
    FOLLOW_S,
    HOLDS,
    TASK,
    UPDATE,
    announced,
    blob,
    digest,
    done,
    manifest,
    model_of,
    online,
    reporting,
    story,
    working,
)
from tests.wording import assert_tells

BUSY, CALM = Readings(load=3.0), Readings(load=0.1)
POLITE = replace(HOLDS, conditions=ConditionsSettings(load=0.5))


def heard(
    readings: Readings, round_: int = 1, *, left_s: float = 1_000.0, **fields: Any
) -> on.RoundAnnounced:
    return replace(announced(manifest(round_, **fields), left_s=left_s), readings=readings)


def reason(state: Device) -> Reason | None:
    return state.declined.reason if state.declined is not None else None


def kinds(effects: list[do.Effect]) -> list[type]:
    return [type(effect) for effect in effects]


# ── what stays so ──────────────────────────────────────────────────────────────────────────────────


def test_too_many_epochs_are_declined_before_anything_is_fetched() -> None:
    limited = replace(CONNECTED, limits=LimitsSettings(epochs=5))
    state, effects = step(limited, announced(manifest(plan=Plan(epochs=6))))
    assert isinstance(state.work, Idle)
    assert kinds(effects) == [do.SaveSeen, do.Log, do.PublishStatus], "durable before visible"
    assert effects[-1] == online(state)
    assert state.declined is not None
    assert (state.declined.generation, state.declined.round, state.declined.attempt) == (1, 1, 0)
    assert state.declined.reason == Reason.TOO_MANY_EPOCHS
    assert_tells(state.declined.detail, "6 epochs", "[limits] epochs", "5")
    assert isinstance(step(limited, announced(manifest(plan=Plan(epochs=5))))[0].work, Fetching)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (LimitsSettings(state_bytes=1), Reason.TOO_MUCH_STATE),
        (LimitsSettings(memory_bytes=1), Reason.TOO_MUCH_MEMORY),
    ],
)
def test_an_algorithm_that_takes_too_much_is_declined_before_anything_is_fetched(
    limits: LimitsSettings, expected: Reason
) -> None:
    limited = replace(CONNECTED, limits=limits)
    state, effects = step(limited, announced(manifest(plan=Plan(epochs=1, local="dyn"))))
    assert isinstance(state.work, Idle)
    assert kinds(effects) == [do.SaveSeen, do.Log, do.PublishStatus]
    assert reason(state) is expected
    free, _ = step(replace(limited, limits=LimitsSettings()), announced(manifest(plan=Plan(local="dyn"))))
    assert isinstance(free.work, Fetching)


def test_what_the_owners_trainer_does_not_do_is_unsupported() -> None:
    lacks = frozenset({"local:nova"})
    own = replace(CONNECTED, can=CONNECTED.can - lacks, untrained=lacks)
    state, _ = step(own, announced(manifest(plan=Plan(epochs=1, local="nova"))))
    assert reason(state) is Reason.UNSUPPORTED
    assert state.declined is not None
    assert_tells(state.declined.detail, "[trainer] use", "local:nova", "algorithms")
    assert "upgrade" not in state.declined.detail, "a newer program would not do it either"
    assert isinstance(step(own, announced(manifest(plan=Plan(epochs=1))))[0].work, Fetching)


def test_what_stays_so_is_not_asked_again() -> None:
    limited = replace(POLITE, limits=LimitsSettings(epochs=1))
    state, _ = step(limited, heard(CALM))
    assert reason(state) == Reason.TOO_MANY_EPOCHS
    again, effects = step(state, on.ConditionsChanged(40.0, CALM))
    assert (replace(again, readings=state.readings, measure_s=state.measure_s), effects) == (state, [])
    assert due_s(state) is None, "nothing is looked at"


def test_a_smaller_plan_in_the_next_round_is_taken_up() -> None:
    limited = replace(HOLDS, limits=LimitsSettings(epochs=5), model=model_of(2))
    state, _ = story(limited, announced(manifest(plan=Plan(epochs=6))))
    assert reason(state) == Reason.TOO_MANY_EPOCHS
    state, effects = step(state, announced(manifest(2, plan=Plan(epochs=5))))
    assert (reason(state), kinds(effects)) == (None, [do.StartWork])


def test_a_foreign_source_is_declined_once_the_task_is_known() -> None:
    state, effects = step(CONNECTED, announced(manifest()))
    assert isinstance(state.work, Fetching), "which source is meant stands in the task"
    state, _ = step(state, on.Fetched(0.0, "task", TASK, "camera"))
    state, effects = step(state, on.Fetched(0.0, "model", model_of(1)))
    assert kinds(effects) == [do.StopFetching, do.SaveSeen, do.Log, do.PublishStatus]
    assert (reason(state), state.work) == (Reason.UNKNOWN_SOURCE, Idle())
    # From then on it is known, and no model is fetched only to be declined.
    state, effects = step(state, announced(manifest(2)))
    assert kinds(effects) == [do.SaveSeen, do.Log, do.PublishStatus]
    assert reason(state) == Reason.UNKNOWN_SOURCE


def test_a_source_must_be_there_and_allowed() -> None:
    named = replace(HOLDS, source="heart", offered=frozenset({"data", "heart"}))
    assert isinstance(step(named, announced(manifest()))[0].work, Working)
    forbidding = replace(named, limits=LimitsSettings(sources=("data",)))
    assert reason(step(forbidding, announced(manifest()))[0]) == Reason.FORBIDDEN_SOURCE
    default = replace(HOLDS, limits=LimitsSettings(sources=("heart",)))
    assert reason(step(default, announced(manifest()))[0]) == Reason.FORBIDDEN_SOURCE


# ── what may pass ──────────────────────────────────────────────────────────────────────────────────


def test_a_busy_device_declines_and_joins_the_open_round_when_it_is_calm() -> None:
    state, effects = step(POLITE, heard(BUSY))
    assert kinds(effects) == [do.SaveSeen, do.Log, do.PublishStatus]
    assert (reason(state), state.work) == (Reason.TOO_BUSY, Idle())
    assert due_s(state) == MEASURE_AGAIN_S
    state, effects = story(state, on.ConditionsChanged(30.0, BUSY), on.Tick(30.0))
    assert effects == [], "it is said once"
    assert due_s(state) == 60.0
    state, effects = step(state, on.ConditionsChanged(60.0, CALM))
    assert kinds(effects) == [do.Log, do.PublishStatus, do.StartWork], "the aggregator waits for it again"
    assert effects[1] == online(state)
    assert (reason(state), state.work) == (None, Working(RoundId(1, 1)))


def test_another_reason_is_said_the_same_is_not() -> None:
    state, _ = step(replace(POLITE, conditions=ConditionsSettings(load=0.5, temperature_c=60)), heard(BUSY))
    assert reason(state) == Reason.CANNOT_MEASURE
    hot = replace(BUSY, temperature_c=70.0)
    state, effects = step(state, on.ConditionsChanged(30.0, hot))
    assert (reason(state), kinds(effects)) == (Reason.TOO_HOT, [do.Log, do.PublishStatus])
    state, effects = step(state, on.ConditionsChanged(60.0, replace(hot, temperature_c=71.0)))
    assert effects == []
    state, effects = step(state, on.ConditionsChanged(90.0, replace(BUSY, temperature_c=50.0)))
    assert reason(state) == Reason.TOO_BUSY


def test_what_was_begun_is_finished() -> None:
    for begun in (
        replace(working(), conditions=POLITE.conditions),
        replace(reporting(), conditions=POLITE.conditions),
    ):
        state, effects = step(begun, on.ConditionsChanged(30.0, BUSY))
        assert (state.work, effects) == (begun.work, [])
        state, effects = step(state, heard(BUSY, attempt=1))
        assert state.work == begun.work, "nor does another attempt change it"
        assert kinds(effects) in ([], [do.SaveSeen])
    fetching, _ = step(replace(POLITE, model=None), heard(CALM))
    state, effects = story(fetching, on.ConditionsChanged(30.0, BUSY), on.Fetched(31.0, "model", model_of(1)))
    assert kinds(effects) == [do.StopFetching, do.StartWork]


def test_nothing_is_looked_at_when_the_round_is_over_or_the_link_is_down() -> None:
    state, _ = step(POLITE, heard(BUSY, left_s=20.0))
    assert reason(state) == Reason.TOO_BUSY
    assert due_s(state) is None, "over before it would be measured again"
    state, _ = story(POLITE, heard(BUSY), on.LinkDown())
    assert due_s(state) is None
    state, effects = step(state, on.ConditionsChanged(30.0, CALM))
    assert (state.work, effects) == (Idle(), [])
    # When the link is back the round is announced again.
    state, effects = story(state, on.LinkUp(40.0, 2), heard(CALM))
    assert kinds(effects) == [do.Log, do.PublishStatus, do.StartWork]


def test_a_device_without_conditions_looks_at_nothing() -> None:
    for state in (HOLDS, working(), step(HOLDS, announced(manifest(chosen=False)))[0]):
        assert due_s(state) is None


def test_each_attempt_and_each_round_is_decided_anew() -> None:
    state, _ = step(POLITE, heard(BUSY))
    later, effects = step(state, heard(BUSY, attempt=1))
    assert later.declined is not None
    assert later.declined.attempt == 1
    assert online(later) in effects
    state, effects = step(state, heard(CALM, attempt=1))
    assert (reason(state), state.work) == (None, Working(RoundId(1, 1)))
    assert do.StartWork(manifest(attempt=1)) in effects


def test_while_it_declines_it_still_follows_the_model() -> None:
    state, _ = step(replace(POLITE, kept=None), heard(BUSY))
    assert due_s(state) == MEASURE_AGAIN_S
    now_s = FOLLOW_S + 5
    state, _ = step(state, on.ConditionsChanged(now_s, BUSY))
    state, effects = step(state, on.Tick(now_s))
    assert kinds(effects) == [do.KeepModel]


# ── the bytes of a day ─────────────────────────────────────────────────────────────────────────────

SIZE = blob("model").size
THRIFTY = replace(HOLDS, limits=LimitsSettings(bytes_per_day=10 * SIZE))


def moved(models: float) -> Readings:
    return Readings(spent=int(models * SIZE))


def test_a_round_must_fit_into_what_is_left_of_the_day() -> None:
    state, _ = step(THRIFTY, heard(moved(9.0)))
    assert isinstance(state.work, Working), "the model is at hand, an update is as large"
    state, _ = step(THRIFTY, heard(moved(9.1)))
    assert (reason(state), due_s(state)) == (Reason.OVER_BYTE_BUDGET, MEASURE_AGAIN_S)
    state, _ = step(replace(THRIFTY, model=None), heard(moved(9.0)))
    assert reason(state) == Reason.OVER_BYTE_BUDGET, "to be fetched, and sent"
    state, _ = step(state, on.ConditionsChanged(30.0, moved(0.0)))
    assert isinstance(state.work, Fetching), "another day"


def test_when_all_is_used_up_it_leaves_until_another_day() -> None:
    for before in (HOLDS, working(), reporting(), step(replace(THRIFTY, model=None), heard(moved(0.0)))[0]):
        begun = replace(before, limits=THRIFTY.limits)
        state, effects = step(begun, on.ConditionsChanged(50.0, moved(10.0)))
        assert kinds(effects) == [do.Log, do.Disconnect]
        assert effects[1] == do.Disconnect(MEASURE_AGAIN_S, farewell=True), "nobody waits for it"
        assert (state.work, due_s(state)) == (begun.work, None), "what was begun waits"
        state, effects = step(state, on.ConditionsChanged(80.0, moved(10.0)))
        assert effects == [do.Disconnect(MEASURE_AGAIN_S)], "said once"
        state, effects = step(state, on.ConditionsChanged(110.0, moved(0.0)))
        assert effects == []
    state, effects = step(
        replace(reporting(), limits=THRIFTY.limits), on.ConditionsChanged(50.0, moved(10.0))
    )
    state, effects = story(state, on.ConditionsChanged(80.0, moved(0.0)), on.LinkUp(81.0, 2))
    assert kinds(effects) == [do.Subscribe, do.PublishStatus, do.PublishUpdate]
    assert isinstance(state.work, Reporting)


def test_the_model_is_followed_only_within_the_budget() -> None:
    behind = replace(THRIFTY, kept=None, model=None)
    final = {"state": "done", "attempt": 1}
    state, effects = step(behind, heard(moved(9.5), **final))
    assert (state.work, do.Fetch in kinds(effects)) == (Idle(), False)
    now_s = due_s(state)
    assert now_s is not None
    state, effects = story(state, on.ConditionsChanged(now_s, moved(9.5)), on.Tick(now_s))
    assert effects == []
    assert (due_s(state) or 0) > now_s, "a loop without a pause"
    state, effects = story(state, on.ConditionsChanged(200.0, moved(0.0)), on.Tick(200.0))
    assert kinds(effects) == [do.Fetch]
    assert kinds(step(behind, heard(moved(9.0), **final))[1])[-1] == do.Fetch


def test_a_result_is_sent_even_if_it_is_the_last_straw() -> None:
    thrifty = replace(working(), limits=THRIFTY.limits, readings=moved(10.0))
    _, effects = step(thrifty, done())
    assert kinds(effects)[:2] == [do.SaveUpdate, do.PublishUpdate]
    assert digest("update") == UPDATE
