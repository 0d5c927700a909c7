"""Work on a device's own models: within the owner's limits, cancelled as training is."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from agent.core.events import Done
from agent.core.state import PERSONAL, SHARED, PersonalState
from agent.trainers import personal, states
from agent.trainers.assignment import Assignment
from agent.trainers.rest import OutOfTime, Rest
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import Adapted, Personal, Start
from fedge.algorithms.registry import Entry, registered
from fedge.algorithms.trainer import Diverged, Job, never
from fedge.data.disclosure import public
from fedge.wire.messages.message import unpack
from fedge.wire.messages.update import Update
from tests.agent.test_trainer_limits import job, task, trainer
from tests.wording import lines_telling

BOTH = Plan(personal="ditto", compare=True)


def asked(plan: Plan, kept: PersonalState | None = None, number: int = 1) -> Assignment:
    found = job(task(), plan)
    manifest = found.manifest.model_copy(update={"round": number})
    return replace(found, manifest=manifest, personal=kept)


def done(folder: Path, assignment: Assignment) -> tuple[Done, Update]:
    made = trainer(folder).work(assignment)
    assert isinstance(made, Done), made
    return made, unpack(made.payload, Update)


def kept_by(
    folder: Path, plan: Plan = BOTH, kept: PersonalState | None = None, number: int = 1
) -> PersonalState:
    found = done(folder, asked(plan, kept, number))[0].personal
    assert found is not None
    return found


def arrays(kept: PersonalState) -> dict[str, Any]:
    return states.unpack(kept.data)


# The owner's time


def test_work_may_take_what_is_left_of_the_time_and_at_most_one_step_more() -> None:
    now = [0.0]
    rest = Rest(never, 10.0, 0.0, lambda: now[0])
    rest.begin()
    assert (rest.cancelled(), rest.enough(), rest.used_up) == (False, False, False)
    now[0] = 10.5
    assert not rest.cancelled()  # the step that is under way
    assert rest.enough()
    with pytest.raises(OutOfTime):  # a part that does not ask `enough`
        rest.cancelled()
    with pytest.raises(OutOfTime):  # and nothing else is begun
        rest.begin()
    assert rest.used_up
    assert not Rest(never, None, 0.0, lambda: 1e9).enough()


def test_without_time_the_update_is_sent_and_former_models_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = kept_by(tmp_path)
    assert int(arrays(before)["part/rounds"]) == 1
    (tmp_path / "agent.toml").write_text((tmp_path / "agent.toml").read_text() + "[limits]\nseconds = 1000\n")
    monkeypatch.setattr(personal.time, "monotonic", iter(range(0, 10**9, 2_000)).__next__)
    with caplog.at_level(logging.INFO):
        made, update = done_with_limit(tmp_path, asked(BOTH, before, 2))
    assert update.body
    assert made.personal is not None
    for name in ("part/v", "part/rounds", "alone/weights"):
        assert arrays(made.personal)[name].tobytes() == arrays(before)[name].tobytes()
    assert lines_telling(caplog.text, "round 1.2", "[limits] seconds", "1000")


def test_dittos_model_is_still_a_choice_in_a_round_without_time_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept_by(tmp_path, Plan(personal="ditto"))
    monkeypatch.setattr(personal.time, "monotonic", iter(range(0, 10**9, 2_000)).__next__)
    offered: list[list[int]] = []
    monkeypatch.setattr(
        personal, "choose", lambda _, models, *__: offered.append([n for n, _ in models]) or models[-1]
    )
    made, _ = done_with_limit(tmp_path, asked(Plan(personal="ditto"), before, 2))
    assert offered == [[SHARED, PERSONAL]]
    assert made.personal is not None
    assert arrays(made.personal)["model/weights"].tobytes() == arrays(before)["part/v"].tobytes()


def test_dittos_model_keeps_the_steps_that_were_taken_when_the_time_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """26 rows in batches of 8 are 4 steps an epoch. The time ends after the second step: v has two steps."""
    plan = Plan(personal="ditto", epochs=3, batch_size=8)
    first = kept_by(tmp_path, plan)
    steps = iter([False, True])
    monkeypatch.setattr(personal.Rest, "enough", lambda self: next(steps, True))
    monkeypatch.setattr(personal.Rest, "cancelled", lambda self: False)
    monkeypatch.setattr(personal.Rest, "begin", lambda self: None)
    found: list[int] = []
    from fedge.algorithms.personal import ditto

    def counted(*args: Any, **terms: Any) -> Any:
        trained = train(*args, **terms)
        found.append(trained.steps)
        return trained

    train = ditto.train
    monkeypatch.setattr(ditto, "train", counted)
    second = kept_by(tmp_path, plan, first, 2)
    assert found[0] == 2
    assert int(arrays(second)["part/rounds"]) == 2
    assert arrays(second)["part/v"].tobytes() != arrays(first)["part/v"].tobytes()


def done_with_limit(folder: Path, assignment: Assignment) -> tuple[Done, Update]:
    made = trainer(folder, "[limits]\nseconds = 1000\n").work(assignment)
    assert isinstance(made, Done), made
    return made, unpack(made.payload, Update)


def test_a_model_alone_that_was_never_trained_is_neither_used_nor_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its first weights are no model: a device without time prefers the shared one."""
    trainer(tmp_path)  # writes the samples
    monkeypatch.setattr(personal.time, "monotonic", iter(range(0, 10**9, 2_000)).__next__)
    made, update = done_with_limit(tmp_path, asked(Plan(compare=True)))
    assert made.personal is not None
    assert "alone/weights" not in arrays(made.personal)
    assert (made.personal.chose, update.metrics["chose"]) == (SHARED, SHARED)
    assert "accuracy_alone" not in update.metrics


# What goes wrong in it


class Odd(Personal):
    """Fails as it is told."""

    chosen: ClassVar[bool] = True
    fails: ClassVar[Callable[[], None]]

    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Callable[[], bool]) -> Adapted:
        type(self).fails()
        return Adapted(start.weights)


def test_a_personal_model_that_diverges_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise Diverged(public("the loss is not finite"), public("lower the rate"))

    Odd.fails = fails
    with registered(Entry("personal", "odd", Odd)):
        made, update = done(tmp_path, asked(Plan(personal="odd")))
    assert update.metrics["chose"] == SHARED
    assert update.metrics["accuracy_personal"] == update.metrics["accuracy_before"]
    assert made.personal is not None
    assert made.personal.chose == SHARED
    assert lines_telling(caplog.text, "the loss is not finite")


def test_cancelled_work_posts_nothing(tmp_path: Path) -> None:
    assignment = asked(Plan(personal="ditto"))
    from fedge.algorithms.personal.ditto import Ditto

    def adapt(self: Ditto, job: Job, start: Start, trained: Any, cancelled: Callable[[], bool]) -> Adapted:
        assignment.cancelled.set()
        return real(self, job, start, trained, cancelled)

    real = Ditto.adapt
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ditto, "adapt", adapt)
        assert trainer(tmp_path).work(assignment) is None


# What belongs together


def test_a_personal_model_goes_on_whatever_the_rate_and_generation(tmp_path: Path) -> None:
    first = kept_by(tmp_path)
    other = BOTH.model_copy(update={"learning_rate": 0.01, "epochs": 1})
    assignment = asked(other, first, 1)
    manifest = assignment.manifest.model_copy(update={"generation": 5})
    made, _ = done(tmp_path, replace(assignment, manifest=manifest))
    assert made.personal is not None
    assert int(arrays(made.personal)["part/rounds"]) == 2


@pytest.mark.parametrize(("name", "options"), [("ditto", {"pull": 0.5}), ("finetune", None)])
def test_with_other_options_or_another_name_it_begins_anew_but_not_the_model_alone(
    tmp_path: Path, name: str, options: dict[str, Any] | None
) -> None:
    first = kept_by(tmp_path)
    changed = BOTH.model_copy(update={"personal_options": options, "personal": name})
    second = kept_by(tmp_path, changed, first, 2)
    assert int(arrays(second).get("part/rounds", np.array(1))) == 1
    fresh = kept_by(tmp_path, changed, None, 2)
    assert arrays(second)["alone/weights"].tobytes() != arrays(fresh)["alone/weights"].tobytes()


def test_for_another_task_everything_begins_anew(tmp_path: Path) -> None:
    first = kept_by(tmp_path)
    fresh = kept_by(tmp_path, number=2)
    other = replace(first, task=bytes([1] * 32))
    assert kept_by(tmp_path, BOTH, other, 2).data == fresh.data
    assert kept_by(tmp_path, BOTH, first, 2).data != fresh.data


def test_without_personal_models_in_the_plan_the_shared_one_is_used(tmp_path: Path) -> None:
    used = replace(kept_by(tmp_path), chose=PERSONAL)
    made, update = done(tmp_path, asked(Plan(), used, 2))
    assert made.personal == replace(used, chose=SHARED)
    assert "chose" not in update.metrics
    assert done(tmp_path, asked(Plan(), made.personal, 3))[0].personal is None, "nothing to write again"


def test_the_rows_to_choose_by_do_not_count_as_samples(tmp_path: Path) -> None:
    plain, both = done(tmp_path, asked(Plan()))[1], done(tmp_path, asked(BOTH))[1]
    assert (plain.samples, both.samples) == (32, 26)  # of 40 rows 8 are held out, and 6 chosen by
    assert plain.metrics["held_out"] == both.metrics["held_out"] == 8
