"""`[plan] rate_decay`: the learning rate falls from round to round, by what is announced alone."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from aggregator.__main__ import main
from aggregator.core import effects as do
from aggregator.core.announcement import LOWEST_RATE, plan_of
from aggregator.settings.plan import PlanSection
from fedge.algorithms.plan import Plan
from fedge.wire.freshness import RoundId
from fedge.wire.messages.message import pack
from tests.aggregator.parts.lab import Lab
from tests.aggregator.stories import federation, of, only_manifest, running

HALF = Plan(epochs=2, batch_size=8, learning_rate=0.5)


def rate(number: int, decay: float, first: float = 0.5, floor: float = 0.0) -> float:
    plan = HALF.model_copy(update={"learning_rate": first})
    state = federation(plan=plan, rate_decay=decay, rate_floor=floor, round=RoundId(1, number))
    return plan_of(state).learning_rate


def test_the_rate_of_round_r_is_the_first_times_the_decay_to_the_r_minus_1() -> None:
    assert [rate(number, 0.5) for number in (1, 2, 3, 4)] == [0.5, 0.25, 0.125, 0.0625]
    assert rate(101, 0.99) == pytest.approx(0.5 * 0.3660323, rel=1e-6)  # 0.99^100 = 0.36603234…


def test_it_never_reaches_zero() -> None:
    assert rate(10, 0.01) == LOWEST_RATE == 1e-12  # 0.5 · 1e-18
    assert rate(2**31 - 1, 1e-300) == LOWEST_RATE
    assert [rate(number, 0.5, first=1e-13) for number in (1, 2)] == [1e-13, 1e-13], "nor is it raised"


def test_it_ends_at_the_floor_which_is_a_part_of_the_first_rate() -> None:
    assert [rate(number, 0.5, floor=0.2) for number in (1, 2, 3, 4, 99)] == [0.5, 0.25, 0.125, 0.1, 0.1]
    assert rate(99, 0.5, floor=1.0) == 0.5
    assert rate(99, 0.5, first=1e-13, floor=0.2) == 1e-13


def test_without_a_floor_in_the_file_it_ends_at_a_thousandth(tmp_path: Path) -> None:
    """Then a step of α g is still many units of a float32 weight, of which SCAFFOLD makes its variate."""
    assert PlanSection.model_validate({}).rate_floor == 1e-3
    plan = {"learning_rate": 0.5, "rate_decay": 1e-9, "codec": "float32"}
    found = []
    for name, more in (("default", {}), ("told", {"rate_floor": 0.25}), ("none", {"rate_floor": 0})):
        lab = Lab(tmp_path / name, {"plan": {**plan, **more}})
        found.append(plan_of(replace(lab.state, round=RoundId(1, 3))).learning_rate)
        assert lab.state.plan.unknown == ()
        lab.ledger.close()
    assert found == [0.5 * 1e-3, 0.125, LOWEST_RATE]


@pytest.mark.parametrize("floor", [-0.1, 1.01, float("nan"), "low"])
def test_what_is_no_floor_is_refused(floor: object) -> None:
    with pytest.raises(ValidationError, match="rate_floor"):
        PlanSection.model_validate({"rate_floor": floor})


def test_without_decay_the_plan_is_the_configured_one() -> None:
    state = federation(plan=HALF, round=RoundId(1, 7))
    assert plan_of(state) is state.plan


def test_only_the_rate_is_another_and_no_device_needs_to_know_more() -> None:
    plain, decayed = (
        only_manifest(of(do.PublishManifest, running("a", plan=HALF, round=RoundId(1, 3), **changes).log))
        for changes in ({}, {"rate_decay": 0.5})
    )
    assert decayed.plan == HALF.model_copy(update={"learning_rate": 0.125})
    assert decayed.requires == plain.requires
    assert b"rate_decay" not in pack(decayed)
    assert len(pack(decayed)) == len(pack(plain)), "no field more"


def test_a_restart_within_a_round_announces_the_same_plan(tmp_path: Path) -> None:
    tables = {"plan": {"learning_rate": 0.5, "rate_decay": 0.5, "codec": "float32"}}
    lab = Lab(tmp_path, tables)
    lab.survey()
    told = [plan_of(lab.state).learning_rate]
    for _ in range(2):
        for device in lab.devices:
            message = lab.update(device, codec="float32", kind="weights", vectors=None, body=bytes(4 * 6))
            assert lab.send(device, message).verdict == "admitted"
        lab.finish()
        told.append(plan_of(lab.state).learning_rate)
        lab.start(tables)
        assert plan_of(lab.state).learning_rate == told[-1]
    assert told == [0.5, 0.25, 0.125]
    assert lab.state.plan.unknown == ()
    lab.ledger.close()


@pytest.mark.parametrize("decay", [0, -0.5, 1.01, float("nan"), float("inf"), "fast"])
def test_what_is_no_decay_is_refused(decay: object) -> None:
    with pytest.raises(ValidationError, match="rate_decay"):
        PlanSection.model_validate({"rate_decay": decay})


def test_check_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "federation.toml"
    file.write_text(
        '[federation]\nname = "lab"\n[model]\nfeatures = 2\nclasses = ["a", "b"]\n[plan]\nrate_decay = 0.75\n'
    )
    assert main(["--config", str(file), "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["plan"]["rate_decay"] == 0.75
