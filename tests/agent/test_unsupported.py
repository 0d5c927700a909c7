"""A device that cannot do what a round requires says so at once, by name, and does nothing else."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core import effects as do
from agent.core import events as on
from agent.core import lifecycle
from agent.core.device import Device, Fetching, Idle, Saved, Working
from agent.core.lifecycle import step
from agent.shell import model_file
from fedge.algorithms.plan import Plan
from fedge.nn.spec import Dense, NetworkSpec, UnknownLayer
from fedge.wire.capabilities import BASE, can
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Cohort
from fedge.wire.messages.message import pack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason
from tests.agent.lifecycle.stories import (
    CONNECTED,
    FOLLOW_S,
    HOLDS,
    TASK,
    UPDATE,
    announced,
    manifest,
    model_of,
)  # fmt: skip
from tests.wording import assert_tells


def unknown_plan() -> Plan:
    return Plan.model_validate({"proximal": 0.1})


STRANGE: list[tuple[dict[str, Any], str]] = [
    ({"requires": ("codec:sparse", "phase:train")}, "codec:sparse"),
    ({"plan": unknown_plan()}, "plan:proximal"),
    ({"plan": Plan(codec="sparse")}, "codec:sparse"),
    ({"kind": "prune"}, "phase:prune"),
    ({"state": "frozen"}, "state:frozen"),
    ({"requires": ("local:feddc", "rule:krum")}, "local:feddc, rule:krum"),
]


EVERYBODY = Cohort(fraction=1.0, seed=1)
UUID = "3f2504e0-4f89-41d3-9a0c-0305e82c3301"


@pytest.mark.parametrize("device", [UUID, UUID.replace("-", "")], ids=["UUID", "machine-id"])
def test_a_long_id_is_declined_where_the_aggregator_hears_none(device: str) -> None:
    """One of 0.2.0 lists nothing as required; one of today always does, and takes it."""
    before = replace(CONNECTED, device=device)
    state, _ = step(before, announced(manifest(requires=None, cohort=EVERYBODY)))
    assert isinstance(state.work, Idle)
    assert state.declined is not None
    assert state.declined.reason is Reason.UNSUPPORTED
    for fact in ("0.2.0", repr(device), str(len(device))):
        assert fact in state.declined.detail
    state, _ = step(before, announced(manifest(requires=("phase:train",), cohort=EVERYBODY)))
    assert isinstance(state.work, Fetching)
    state, _ = step(replace(before, device="d" * 31), announced(manifest(requires=None, cohort=EVERYBODY)))
    assert isinstance(state.work, Fetching)


@pytest.mark.parametrize(("fields", "names"), STRANGE)
@pytest.mark.parametrize("before", [CONNECTED, HOLDS], ids=["nothing at hand", "all at hand"])
def test_what_a_manifest_asks_and_the_program_cannot_is_declined_at_once(
    before: Device, fields: dict[str, Any], names: str
) -> None:
    state, effects = step(before, announced(manifest(**fields)))
    assert isinstance(state.work, Idle)
    assert state.declined is not None
    assert state.declined.reason is Reason.UNSUPPORTED
    assert names in state.declined.detail
    assert [type(effect) for effect in effects] == [do.SaveSeen, do.Log, do.PublishStatus]
    _, effects = step(state, on.Tick(FOLLOW_S + 1.0))
    fetched = [effect for effect in effects if isinstance(effect, do.Fetch)]
    assert bool(fetched) == (before is CONNECTED), "with its model it can still predict"


@pytest.mark.parametrize(
    ("plan", "names"),
    [
        (Plan(local="scaffold"), "local:scaffold"),
        (Plan(local="prox", local_options={"mu": 0.1}), "local:prox, local:prox.mu"),
        (Plan(max_gradient=1.0), "plan:max_gradient"),
    ],
    ids=["scaffold", "prox", "max_gradient"],
)
def test_a_device_with_the_abilities_of_0_2_0_declines_before_it_trains(plan: Plan, names: str) -> None:
    state, effects = step(replace(HOLDS, can=BASE), announced(manifest(plan=plan)))
    assert state.declined is not None
    assert (state.declined.reason, state.declined.round) == (Reason.UNSUPPORTED, 1)
    assert_tells(state.declined.detail, names)
    assert not [effect for effect in effects if isinstance(effect, do.StartWork)]
    (line,) = (effect.text for effect in effects if isinstance(effect, do.Log))
    assert_tells(line, "round 1.1", "unsupported", names)
    able, _ = step(HOLDS, announced(manifest(plan=plan)))
    assert able.declined is None, "this version can do all of it"


def test_a_bound_of_the_gradient_that_is_not_set_is_not_sent() -> None:
    """So whoever knows only the fields of 0.2.0 takes part."""
    plan = manifest(plan=Plan())
    assert b"max_gradient" not in pack(plan)
    assert b"max_gradient" in pack(manifest(plan=Plan(max_gradient=1.0)))
    state, effects = step(replace(HOLDS, can=BASE), announced(plan))
    assert state.declined is None
    assert [effect for effect in effects if isinstance(effect, do.StartWork)]


@pytest.mark.parametrize("name", ["layer:conv1d", "loss:huber", "network:skip"])
def test_a_model_that_the_program_cannot_compute_is_not_fetched_either(name: str) -> None:
    state, _ = step(CONNECTED, announced(manifest(requires=(name,))))
    assert state.declined is not None
    assert state.declined.reason is Reason.UNSUPPORTED
    later, effects = step(state, on.Tick(FOLLOW_S + 1.0))
    assert effects == []
    assert (lifecycle.due_s(later) or FOLLOW_S * 2) > FOLLOW_S + 1.0


def test_a_device_that_can_more_takes_part() -> None:
    able = replace(CONNECTED, can=can() | {"codec:sparse"})
    state, _ = step(able, announced(manifest(requires=("codec:sparse",))))
    assert isinstance(state.work, Fetching)
    assert "codec:sparse" in (lifecycle.status(state).can or ())


def test_a_state_that_is_not_known_is_no_open_round() -> None:
    state, effects = step(HOLDS, announced(manifest(state="frozen")))
    assert isinstance(state.work, Idle)
    assert not [effect for effect in effects if isinstance(effect, do.StartWork)]


def test_who_is_not_chosen_declines_nothing() -> None:
    state, _ = step(HOLDS, announced(manifest(chosen=False, requires=("codec:sparse",))))
    assert state.declined is None


@pytest.mark.parametrize("kind", ["task", "model"])
def test_what_only_the_task_or_the_model_tells_is_declined_when_it_is_read(kind: str) -> None:
    before = replace(HOLDS, **{kind: b"another"})
    digest = TASK if kind == "task" else model_of(1)
    name = "layer:conv1d" if kind == "task" else "codec:sparse"
    state, _ = step(before, announced(manifest()))
    assert isinstance(state.work, Fetching)
    state, effects = step(state, on.Fetched(1.0, kind, digest, unknown=(name,)))
    assert state.declined is not None
    assert (state.declined.reason, name in state.declined.detail) == (Reason.UNSUPPORTED, True)
    assert not [effect for effect in effects if isinstance(effect, do.StartWork | do.KeepModel)]
    state, effects = step(state, announced(manifest(2)))
    if kind == "task":  # the same task: nothing is fetched to learn it again
        assert not [effect for effect in effects if isinstance(effect, do.Fetch)]
    assert (state.declined is not None) == (kind == "task"), "the next model may be of another codec"


def test_a_model_that_cannot_be_used_is_not_kept_by_who_only_follows() -> None:
    before = replace(CONNECTED, followed_s=-FOLLOW_S)
    state, effects = step(before, announced(manifest(chosen=False)))
    assert [effect for effect in effects if isinstance(effect, do.Fetch)]
    state, _ = step(state, on.Fetched(1.0, "task", TASK, unknown=("layer:conv1d",)))
    state, effects = step(state, on.Fetched(1.0, "model", model_of(1)))
    assert isinstance(state.work, Idle)
    assert not [effect for effect in effects if isinstance(effect, do.KeepModel)]
    assert [e.level for e in effects if isinstance(e, do.Log)] == ["warning"]
    assert step(state, on.Tick(2 * FOLLOW_S))[1] == [], "nor fetched again and again"


def strange_file(path: Path) -> None:
    network = NetworkSpec(
        inputs=1, layers=(UnknownLayer(type="conv1d"), Dense(units=2)), loss="cross-entropy"
    )
    task = Task(network=network, features=("x",), classes=("a", "b"))
    model_file.save(path, pack(task), pack(Model(generation=1, round=3, body=bytes(16))))


def test_a_model_file_of_a_newer_program_is_left_alone_and_said(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "data.csv").write_text("x,label\n1,a\n2,b\n")
    strange_file(tmp_path / "state" / model_file.FILE)
    config = tmp_path / "agent.toml"
    config.write_text('federation = "f"\ndevice = "d"\n[data]\nsource = "csv"\npath = "data.csv"\n')
    command = [sys.executable, "-m", "agent", "--config", str(config), "predict", str(tmp_path / "data.csv")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (78, "")
    assert "layer:conv1d" in ran.stderr
    assert "upgrade" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("verdict", [None, "refused"])
def test_after_an_upgrade_the_work_of_the_older_program_is_done_again(verdict: str | None) -> None:
    """It obeyed what it knew of the plan; it waits on the disk, or was refused (`unsupported`)."""
    saved = Saved(RoundId(1, 1), UPDATE, verdict, ours=False)
    upgraded = replace(HOLDS, can=can() | {"codec:sparse"}, saved=saved)
    asked = announced(manifest(requires=("codec:sparse",)))
    _, effects = step(upgraded, asked)
    assert [effect for effect in effects if isinstance(effect, do.StartWork)]
    assert not [effect for effect in effects if isinstance(effect, do.PublishUpdate)]
    for known in (
        step(replace(upgraded, saved=replace(saved, verdict="admitted")), asked),
        step(replace(upgraded, saved=replace(saved, ours=True)), asked),
        step(replace(upgraded, saved=replace(saved, own_models=True)), asked),
        step(upgraded, announced(manifest())),
        step(upgraded, announced(manifest(requires=("layer:standardize.clip", "data:missing")))),
        step(upgraded, announced(manifest(kind="evaluate", plan=None, requires=("phase:evaluate",)))),
    ):
        assert known[0].saved is not None, "what the program itself made, or 0.2.0 understood, stays"
        assert not [effect for effect in known[1] if isinstance(effect, do.StartWork)]


def test_a_plan_that_was_mended_in_the_middle_of_a_round_is_judged_anew() -> None:
    state, _ = step(HOLDS, announced(manifest(plan=unknown_plan())))
    assert state.declined is not None
    same, effects = step(state, announced(manifest(plan=unknown_plan())))
    assert (same.declined, effects) == (state.declined, []), "said again"
    still, effects = step(state, announced(manifest(plan=Plan(codec="sparse"))))
    assert still.declined is not None
    assert "codec:sparse" in still.declined.detail
    assert [type(effect) for effect in effects] == [do.Log, do.PublishStatus]
    mended, effects = step(state, announced(manifest()))
    assert mended.declined is None
    assert [type(effect) for effect in effects] == [do.PublishStatus, do.StartWork]


@pytest.mark.parametrize("attempt", [0, 1], ids=["same attempt", "next attempt"])
def test_work_by_a_plan_that_was_changed_begins_anew(attempt: int) -> None:
    working, _ = step(HOLDS, announced(manifest()))
    assert isinstance(working.work, Working)
    changed = manifest(plan=Plan(epochs=9), attempt=attempt)
    state, effects = step(working, announced(changed))
    assert state.work == working.work
    wanted = [effect for effect in effects if isinstance(effect, do.CancelWork | do.StartWork)]
    assert wanted == [do.CancelWork(working.work.round), do.StartWork(changed)]
    again, effects = step(state, announced(changed))
    assert (again.work, effects) == (state.work, []), "said again"


def test_work_that_a_changed_plan_forbids_is_dropped_with_a_reason() -> None:
    working, _ = step(HOLDS, announced(manifest()))
    state, effects = step(working, announced(manifest(plan=Plan(codec="sparse"))))
    assert state.declined is not None
    assert state.declined.reason is Reason.UNSUPPORTED
    assert do.CancelWork(RoundId(1, 1)) in effects
    assert not [effect for effect in effects if isinstance(effect, do.StartWork)]
    kinds = [type(effect) for effect in effects]
    assert kinds.index(do.SaveSeen) < kinds.index(do.PublishStatus), "durable before it is told"


def test_a_plan_that_changes_while_its_model_is_fetched_is_the_one_that_is_worked_by() -> None:
    fetching, _ = step(CONNECTED, announced(manifest()))
    changed = manifest(plan=Plan(epochs=9))
    state, effects = step(fetching, announced(changed))
    assert isinstance(state.work, Fetching)
    assert [type(effect) for effect in effects] == [do.StopFetching, do.Fetch]
    for kind, blob in (("task", changed.task), ("model", changed.model)):
        assert blob is not None
        state, effects = step(state, on.Fetched(0.0, kind, blob.digest))
    assert do.StartWork(changed) in effects


def test_an_update_by_the_plan_before_is_still_sent_and_its_owner_is_told() -> None:
    working, _ = step(HOLDS, announced(manifest()))
    reporting, _ = step(working, on.Done(0.0, RoundId(1, 1), UPDATE, b"update", 40))
    state, effects = step(reporting, announced(manifest(plan=Plan(epochs=9))))
    assert state.work == reporting.work
    assert [type(effect) for effect in effects] == [do.Log]


def test_a_plan_that_is_mended_while_the_model_is_only_followed_is_worked_by() -> None:
    declined, _ = step(CONNECTED, announced(manifest(plan=Plan(codec="sparse"))))
    assert declined.declined is not None
    following, _ = step(declined, on.Tick(2 * FOLLOW_S))
    assert isinstance(following.work, Fetching)
    assert not following.work.to_work
    mended = manifest()
    state, effects = step(following, announced(mended))
    assert isinstance(state.work, Fetching)
    assert state.work.to_work
    assert do.PublishStatus(lifecycle.status(state)) in effects, "it declines no longer"


def test_two_plans_by_turns_do_not_keep_a_device_from_its_work_for_ever() -> None:
    state, _ = step(HOLDS, announced(manifest()))
    begun = [manifest(plan=Plan(epochs=epochs)) for epochs in (9, 2)]
    started = logged = 0
    for turn in range(100):
        state, effects = step(state, announced(begun[turn % 2]))
        started += sum(isinstance(effect, do.StartWork) for effect in effects)
        logged += sum(isinstance(effect, do.Log) for effect in effects)
    assert isinstance(state.work, Working)
    assert 1 < started < 20
    assert logged < 20
    newer = manifest(plan=Plan(epochs=7), attempt=1)
    _, effects = step(state, announced(newer))
    assert do.StartWork(newer) in effects, "another attempt counts anew"


def test_the_same_plan_said_again_disturbs_nothing() -> None:
    working, _ = step(HOLDS, announced(manifest()))
    reporting, _ = step(working, on.Done(0.0, RoundId(1, 1), UPDATE, b"update", 40))
    for before in (working, reporting):
        state, effects = step(before, announced(manifest(seconds_left=7)))
        assert (state.work, state.saved, effects) == (before.work, before.saved, [])
