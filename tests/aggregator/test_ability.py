"""Who cannot do what a round requires is neither awaited nor admitted, and the operator is told."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aggregator.core import effects as do
from aggregator.core.ability import requirements
from aggregator.core.effects import Effect
from aggregator.core.federation import Federation
from aggregator.core.verdicts import Verdict
from aggregator.ledger.writing import Ledger
from fedge.algorithms.codecs.float32 import Float32
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import Entry, registered
from fedge.nn.spec import Dense, NetworkSpec, Standardize
from fedge.wire.capabilities import BASE, BUFFERED, can
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason
from tests.aggregator.stories import (
    OPEN,
    SURVEY,
    TASK,
    Story,
    federation,
    frames,
    having,
    kinds,
    of,
    only_manifest,
    receipts,
    rules,
    running,
    status,
    update,
)  # fmt: skip
from tests.wording import assert_tells


def new_abilities() -> tuple[str, ...]:
    return tuple(sorted(can() | {"codec:sparse"}))


SPARSE = Plan(codec="sparse")


@pytest.fixture(autouse=True)
def _known_here() -> Iterator[None]:
    """The aggregator's own plan names nothing that it lacks itself."""
    with registered(Entry("codec", "sparse", Float32)):
        yield


def able(**changes: object) -> Status:
    return status().model_copy(update={"can": new_abilities(), **changes})


def with_answer(state: Federation, device: str) -> Federation:
    """A device's update counts; no codec of this program makes one that this round would admit."""
    answers = {**state.answers, device: Verdict(b"d" * 32, "admitted", samples=10)}
    return having(state, answers=answers, admitted=len(answers), awaited=state.awaited - {device})


def said(effects: list[Effect]) -> str:
    return "\n".join(effect.text for effect in of(do.Log, effects))


def mixed(*old: str, new: tuple[str, ...] = (), **changes: object) -> tuple[Story, list[Effect]]:
    """A round that requires top-k, with devices of 0.2.0 and newer ones online."""
    story = Story(federation(plan=SPARSE, rules=rules(target=None), **changes))
    story.start()
    story.link_up()
    for device in old:
        story.sees(device)
    for device in new:
        story.sees(device, able())
    return story, story.published()


def test_a_manifest_lists_what_its_round_requires() -> None:
    _, effects = mixed("a")
    required = only_manifest(effects).requires
    assert required == ("codec:sparse", "layer:dense", "local:sgd", "phase:train")


def test_a_survey_requires_no_codec() -> None:
    story = Story(federation(plan=SPARSE, round=SURVEY, kind="survey", model=None))
    effects = story.announce("a", "b")
    assert only_manifest(effects).requires == ("layer:dense", "phase:survey")
    assert said(effects) == ""


def test_the_operator_is_told_at_the_start_how_many_cannot_and_which() -> None:
    _, effects = mixed("a", "b", new=("c", "d"))
    assert_tells(said(effects), "round 1.1: 2 of 4 devices", "codec:sparse", "a, b")
    assert "updates to close" not in said(effects)
    assert kinds(effects).index(do.Log) < kinds(effects).index(do.PublishManifest)
    _, effects = mixed("a", "b", new=("c",))
    assert_tells(said(effects), "2 updates to close", "1 device")
    _, effects = mixed("a", new=("c", "d"), quarantined=frozenset({"d"}))
    assert_tells(said(effects), "2 updates to close", "1 device")  # who is set aside cannot count either


def test_who_cannot_is_not_awaited_so_that_the_round_closes_without_it() -> None:
    story, _ = mixed("a", "b", new=("c", "d"))
    assert story.state.awaited == {"c", "d"}
    for device in ("c", "d"):
        story.state = with_answer(story.state, device)
    story.later(0.0)
    assert story.stage() == "closing"


def test_who_cannot_is_not_admitted_and_may_answer_once_it_is_upgraded() -> None:
    story, _ = mixed("a", new=("c", "d"))
    effects = story.send("a", update("a"))
    assert receipts(effects) == [("a", "refused", Reason.UNSUPPORTED)]
    assert of(do.SpoolFrame, effects) == []
    assert of(do.SaveAnswer, effects) == [], "the device's one answer is still to come"
    story.sees("a", able(version="0.3.0"))
    assert "a" in story.state.awaited
    assert of(do.SpoolFrame, story.frame("a", first_frame("a"))) != []


@pytest.mark.parametrize(
    ("plan", "name"),
    [
        (Plan(local="scaffold"), "local:scaffold"),
        (Plan(local="dyn"), "local:dyn"),
        (Plan(max_gradient=1.0), "plan:max_gradient"),
    ],
    ids=["scaffold", "dyn", "max_gradient"],
)
def test_a_device_of_0_2_0_is_left_out_where_the_plan_has_what_came_later(plan: Plan, name: str) -> None:
    """It would train plain SGD: so it is told in the manifest, not awaited, and not admitted."""
    story = Story(federation(plan=plan, rules=rules(target=None)))
    story.start()
    story.link_up()
    story.sees("old")
    for device in ("c", "d"):
        story.sees(device, able())
    effects = story.published()
    required = only_manifest(effects).requires or ()
    assert name in required
    assert (name in BASE, name in can()) == (False, True)
    assert_tells(said(effects), "round 1.1: 1 of 3 devices", name, "old")
    assert story.state.awaited == {"c", "d"}
    assert receipts(story.send("old", update("old"))) == [("old", "refused", Reason.UNSUPPORTED)]
    assert "old" not in story.state.answers


def test_a_plan_that_sets_nothing_new_awaits_a_device_of_0_2_0() -> None:
    story = running("old", "new")
    assert story.state.plan.max_gradient is None
    assert requirements(story.state) <= BASE
    assert story.state.awaited == {"old", "new"}


@pytest.mark.parametrize("device", ["a", "stranger"])
def test_of_an_update_that_cannot_count_only_the_first_frame_is_answered(device: str) -> None:
    """One of 0.2.0 sends all of it in each round: a line in the log for each frame would fill it."""
    story, _ = mixed("a", new=("c", "d"))
    pieces = [Frame(id=bytes(32), i=i, n=3, size=300, data=bytes(100)) for i in range(3)]
    assert [len(receipts(story.frame(device, piece))) for piece in pieces] == [1, 0, 0]
    assert len(receipts(story.frame(device, pieces[0]))) == 1, "whoever missed the receipt asks with it"


def first_frame(device: str) -> Frame:
    return frames(update(device, codec="sparse"))[0]


def test_who_has_not_told_what_it_can_is_asked_to_come_again_where_it_matters() -> None:
    story, _ = mixed(new=("c", "d"))
    effects = story.frame("stranger", first_frame("stranger"))
    assert receipts(effects) == [("stranger", "retry", Reason.UNSUPPORTED)]
    plain = running("a", "b")
    assert of(do.SpoolFrame, plain.frame("stranger", first_frame("stranger"))) != []


def test_a_device_that_comes_later_and_cannot_is_told_once() -> None:
    story, _ = mixed(new=("c", "d"))
    effects = story.sees("late")
    assert_tells(said(effects), "late ", "codec:sparse")
    assert "late" not in story.state.awaited
    assert said(story.sees("late", status(online=False))) == ""


def test_a_fleet_of_0_2_0_is_told_nothing_and_takes_part_as_before() -> None:
    story = running("a", "b", "c")
    assert "cannot" not in said(story.log)
    assert story.state.awaited == {"a", "b", "c"}


def test_the_draw_of_a_cohort_counts_those_only_who_can() -> None:
    old = tuple(f"old-{i}" for i in range(50))
    new = tuple(f"new-{i}" for i in range(6))
    story = Story(federation(plan=SPARSE, rules=rules(fraction=0.3, target=2), round=OPEN))
    abilities = {**dict.fromkeys(old, BASE), **dict.fromkeys(new, frozenset(new_abilities()))}
    online = frozenset((*old, *new))
    story.state = having(story.state, online=online, abilities=abilities)
    story.start()
    story.link_up()
    story.published()
    assert len(story.state.awaited) >= 2
    assert story.state.awaited <= set(new)


@pytest.mark.parametrize(
    "layers", [(Dense(units=3),), (Standardize(mean=bytes(8), scale=b"\0\0\x80?" * 2), Dense(units=3))]
)
def test_layers_are_required_as_the_task_has_them(layers: tuple[Dense | Standardize, ...]) -> None:
    task = TASK.model_copy(update={"network": NetworkSpec(inputs=2, layers=layers, loss="cross-entropy")})
    state = federation(task_message=task)
    assert {f"layer:{layer.type}" for layer in layers} <= requirements(state)


def test_requirements_are_found_once_for_what_they_depend_on() -> None:
    state = federation()
    found = requirements(state)
    assert requirements(replace(state, admitted=7, elapsed_s=3.0)) is found
    for name, change in (
        ("model:int8", {"model_codec": "int8"}),
        (BUFFERED, {"rules": replace(state.rules, max_staleness=2)}),
        ("phase:evaluate", {"kind": "evaluate"}),
        ("codec:int8", {"plan": state.plan.model_copy(update={"codec": "int8"})}),
    ):
        assert name not in requirements(state)
        assert name in requirements(replace(state, **change))


def test_what_a_device_can_is_known_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = Ledger(path)
    with ledger.transaction():
        ledger.save_status("new", able(), 0.0)
        ledger.save_status("old", status(), 0.0)
        ledger.count_refusals("stranger", 1, Reason.MALFORMED)
    ledger.close()
    assert Ledger(path).abilities() == {"new": frozenset(new_abilities()), "old": BASE}
