"""Rules for data that the task proposes: by their names, and None where nothing is proposed."""

import pytest
from pydantic import ValidationError

from fedge.data.rules import NAMES, Holdout, Proposal
from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.capabilities import BASE, can, lacking, required, unknown_in_task
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.task import Task

NETWORK = NetworkSpec(inputs=1, layers=(Dense(units=2),), loss="cross-entropy")
WHOLE = Proposal(missing="fill", gap=5, holdout=Holdout(part=0.3, by="every"), unknown_labels="drop")


def task(rules: Proposal | None) -> Task:
    return Task(network=NETWORK, features=("x",), classes=("a", "b"), rules=rules)


def test_they_travel_in_the_task_and_nothing_does_where_nothing_is_proposed() -> None:
    assert unpack(pack(task(WHOLE)), Task).rules == WHOLE
    assert b"rules" not in pack(task(None)), "as a task of 0.2.0"
    partly = Proposal(holdout=Holdout(by="series"))
    assert unpack(pack(task(partly)), Task).rules == partly
    assert (partly.proposed, WHOLE.proposed) == (("holdout",), NAMES)


def test_only_what_is_required_must_be_known_and_each_rule_has_a_name() -> None:
    assert lacking(required("train", None, NETWORK, WHOLE), BASE) == ()
    strict = WHOLE.model_copy(update={"required": True})
    needed = required("survey", None, NETWORK, strict)
    assert lacking(needed, BASE) == ("data:gap", "data:holdout", "data:missing", "data:unknown_labels")
    assert lacking(needed, can()) == ()
    one = Proposal(missing="drop", required=True)
    assert lacking(required("survey", None, NETWORK, one), BASE) == ("data:missing",)


def test_a_value_of_a_newer_program_matters_only_where_it_is_required() -> None:
    later = Proposal(missing="interpolate", holdout=Holdout(by="weekday"), unknown_labels="learn")
    assert unknown_in_task(task(later)) == ()
    assert unknown_in_task(task(later.model_copy(update={"required": True}))) == (
        "data:holdout.by.weekday",
        "data:missing.interpolate",
        "data:unknown_labels.learn",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"missing": "FILL IT"},
        {"missing": "x" * 41},
        {"gap": -1},
        {"gap": 1_000_001},
        {"gap": 1.5},
        {"holdout": {"part": 0.9}},
        {"holdout": {"part": float("nan")}},
        {"holdout": 0.2},
        {"required": 1},
    ],
)
def test_what_cannot_be_meant_is_no_task(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Proposal.model_validate(wrong)
