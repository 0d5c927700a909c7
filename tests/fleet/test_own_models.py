"""How devices fare with their own models, as the demo's table, JSON object and report show it."""

import io
import json
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from aggregator.ledger.layout import FILE as LEDGER
from fedge import Algorithm, simulate
from fedge.algorithms.plan import Plan
from fleet.cli.commands import own_rows
from fleet.demo import own_report
from fleet.demo.baselines import Alone
from fleet.demo.outcome import Outcome
from fleet.demo.own_models import OwnModel, OwnModels, read
from fleet.demo.provision import write_federation
from fleet.demo.report import render
from fleet.demo.run import Options, plan_of
from tests.fleet.library.fleets import CLASSIFIER, PLAN, fleet
from tests.wording import assert_tells

OWN = OwnModels(
    "ditto",
    (
        # Of 20 rows: 16, 18 and 19 are right; the model alone with more rows gets 20.
        OwnModel("left", 20, 0.8, 0.9, 0.95, "personal", False, True, 1.0),
        # Of 10 rows: 9, 7 and 9.
        OwnModel("right", 10, 0.9, 0.7, 0.9, "shared", True, False, 0.8),
    ),
)


def test_means_worst_and_counts_are_of_devices() -> None:
    assert (OWN.mean("shared"), OWN.mean("used"), OWN.mean("alone")) == pytest.approx((0.85, 0.8, 0.925))
    assert (OWN.worst("used"), OWN.worst("shared")) == (0.7, 0.8)
    assert (OWN.worse_off, OWN.shared_worse_off) == (1, 1)
    assert OWN.behind_all_rows == 1  # left: 18 of 20; right is one row better


def test_the_json_object_has_the_figures_by_device(outcome: Outcome) -> None:
    assert "worse_off" not in outcome.as_json()
    found = json.loads(json.dumps(replace(outcome, own=OWN).as_json()))
    assert (found["compared"], found["worse_off"], found["shared_worse_off"]) == (2, 1, 1)
    assert (found["personal"], found["worse_off_all_rows"]) == ("ditto", 1)
    assert found["own_models"]["left"] == {
        "rows": 20,
        "shared": 0.8,
        "personal": 0.9,
        "alone": 0.95,
        "alone_all_rows": 1.0,
        "uses": "personal",
        "worse_off": False,
    }


def test_the_report_says_how_many_are_worse_off_and_shows_each_device(outcome: Outcome) -> None:
    page = render(replace(outcome, own=OWN), details=own_report.section(OWN))
    assert "<b>1 of 2</b>" in page
    assert_tells(own_report.section(OWN), "1 of 2 devices", "ditto")
    assert page.count("<td>worse off than alone</td>") == 1
    assert "<td>80.0%</td><td>95.0%</td>" not in page
    assert "<td>left</td><td>20</td><td>95.0%</td><td>80.0%</td><td>90.0%</td><td>personal</td>" in page
    assert "worse off than alone" not in render(outcome)


def test_wrong_answers_are_drawn_by_device() -> None:
    bars = {bar.name: dict(zip(bar.y, bar.x, strict=True)) for bar in own_report.figure(OWN).data}
    assert bars == {
        "alone": {"left (20 rows)": 1, "right (10 rows)": 1},
        "the shared model": {"left (20 rows)": 4, "right (10 rows)": 1},
        "the model that it uses": {"left (20 rows)": 2, "right (10 rows)": 3},
    }


def test_the_table_has_a_row_for_each_model() -> None:
    output = io.StringIO()
    Console(file=output, width=80).print(own_rows(OWN))
    for model, mean, worst in (("alone", "0.925", "0.900"), ("shared", "0.850", "0.800")):
        assert any(
            line.split()[1:6:2] == [model, mean, worst]
            for line in output.getvalue().splitlines()
            if model in line
        )
    assert_tells(output.getvalue(), "ditto", "0.700")


def test_the_figures_are_those_of_the_round_that_measures_the_last_model(tmp_path: Path) -> None:
    simulate(
        CLASSIFIER,
        fleet(),
        Algorithm(personal="ditto"),
        plan=PLAN,
        rounds=2,
        seed=3,
        settings={"personal": {"compare": True}},
        folder=tmp_path / "f",
    )
    alone = [Alone(name, 0.5, 0.25) for name in fleet()]
    found = read(tmp_path / "f" / "state" / LEDGER, "ditto", alone)
    assert found is not None
    assert [one.device for one in found.devices] == sorted(fleet())
    from tests.test_personal_benchmark import told  # the same, by another way

    last = told(tmp_path / "f" / "state" / LEDGER)[2]
    for one in found.devices:
        figures = last[one.device]
        assert (one.shared, one.used, one.alone) == tuple(
            figures[f"accuracy_{which}"] for which in ("before", "personal", "alone")
        )
        assert one.uses == ("shared", "personal")[int(figures["chose"])]
        assert (one.rows, one.alone_all_rows) == (figures["held_out"], 0.25)


def test_without_compare_there_is_nothing_to_show(tmp_path: Path) -> None:
    simulate(CLASSIFIER, fleet(), plan=PLAN, rounds=1, seed=3, folder=tmp_path / "f")
    assert read(tmp_path / "f" / "state" / LEDGER, "none") is None


@pytest.mark.parametrize(
    ("personal", "table"),
    [("ditto", {"name": "ditto", "compare": True}), ("none", None)],
)
def test_the_demos_federation_names_the_personal_model(
    personal: str, table: dict[str, object] | None, tmp_path: Path
) -> None:
    def written(plan: Plan) -> dict[str, object]:
        path = write_federation(
            tmp_path,
            name="demo",
            seed=1,
            devices=["a", "b"],
            broker_url="mqtt://localhost",
            model={"features": ["x"], "classes": ["a", "b"], "layers": []},
            plan=plan,
            rounds=1,
        )
        return tomllib.loads(path.read_text())

    found = written(plan_of(personal))
    assert found.get("personal") == table
    plan = found["plan"]
    assert isinstance(plan, dict)
    assert not {"personal", "personal_options", "compare"} & plan.keys()


def test_the_demo_compares_unless_it_is_told_not_to(tmp_path: Path) -> None:
    assert plan_of(Options(tmp_path).personal).compare
    assert not plan_of("none").adapts
