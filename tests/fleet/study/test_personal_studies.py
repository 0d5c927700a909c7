"""Personal models in a study: what devices tell of the models that they use, and of models alone."""

import json
import tomllib
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from typer.testing import CliRunner

import fedge
from aggregator.ledger.layout import FILE
from fedge.algorithms.plan import Plan
from fedge.errors import ConfigError
from fleet.cli.commands import app
from fleet.demo.own_models import read
from fleet.library.results import Point
from fleet.study.deal import Table
from fleet.study.own import Own
from fleet.study.runs import Cell, Run, check, run, task_of
from fleet.study.settings import StudySettings
from fleet.study.table import result
from fleet.study.terminal import own_columns, own_texts, shown_own
from tests.system.toml_text import toml
from tests.wording import assert_tells

EXAMPLE = Path(__file__).parents[3] / "examples" / "personal.toml"
STUDY: dict[str, Any] = {
    "study": {"name": "personal", "rounds": 2, "rates": [0.2], "compare": True},
    "data": {
        "dataset": "digits",
        "holdout": 0.25,
        "split": {"by": "dirichlet", "devices": 8, "alpha": 0.1},
    },
    "plan": {"epochs": 1, "batch_size": 50},
    "algorithm": [
        {"name": "FedAvg"},
        {"name": "tuned", "personal": "finetune", "personal_options": {"epochs": 3}},
    ],
}


def written(folder: Path, **tables: Any) -> Path:
    """`STUDY` with other keys in some tables."""
    content = {
        **STUDY,
        **{k: {**STUDY.get(k, {}), **v} if isinstance(v, dict) else v for k, v in tables.items()},
    }
    path = folder / "study.toml"
    path.write_text(toml(content), encoding="utf-8")
    return path


def load(folder: Path, **tables: Any) -> StudySettings:
    return StudySettings.load(written(folder, **tables), {})


TUNED = fedge.Algorithm(personal="finetune", options={"personal": {"epochs": 3}})


def by_hand(
    study: StudySettings,
    table: Table,
    algorithm: fedge.Algorithm,
    folder: Path | None = None,
    gap: int = 0,
) -> fedge.Result:
    """The federation of seed 1, with the engine `cores`."""
    deal = table.deal(1)
    return fedge.simulate(
        task_of(study, table.rows),
        deal.devices,
        algorithm,
        plan=Plan(epochs=1, batch_size=50, learning_rate=0.2),
        rounds=2,
        seed=1,
        holdout=0.25,
        test=deal.test,
        settings={"personal": {"compare": study.study.compare}, "data": {"gap": gap} if gap else {}},
        folder=folder,
    )


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [
        ("FedAvg", fedge.Algorithm()),
        ("tuned", TUNED),
    ],
)
def test_figures_are_those_that_devices_tell_in_the_federation_by_hand(
    name: str, algorithm: fedge.Algorithm, tmp_path: Path
) -> None:
    """The study runs with the engine `fast`; the demo's reader reads the ledger of the one by hand."""
    settings = load(tmp_path)
    table = Table(settings.data)
    deal = table.deal(1)
    found = run(settings, table.rows, deal, Cell(name, 0.2, 1))
    other = by_hand(settings, table, algorithm, tmp_path / "hand")
    told = read(tmp_path / "hand" / "state" / FILE, name)
    assert told is not None
    assert found.curve == other.curve
    assert found.own is not None
    assert (found.own.devices, found.own.compared, found.own.worse_off) == (8, 8, told.worse_off)
    means = (told.mean("used"), told.worst("used"), told.mean("alone"))
    assert (found.own.mean, found.own.worst, found.own.alone) == pytest.approx(means, abs=1e-12)
    assert len(set(means)) == 3
    assert sum(one.rows for one in told.devices) == deal.held == 8 * 44  # 1438 / 8 = 179; a fourth is 44
    assert (told.worse_off > 0) == (name == "FedAvg"), "so early the shared model is worse"
    assert Run.of_json(json.loads(json.dumps(found.as_json()))).own == found.own


def test_without_a_personal_model_devices_use_the_shared_one(tmp_path: Path) -> None:
    """No device compares, and the study tells how the shared model does on each one's rows."""
    settings = load(tmp_path, study={"compare": False})
    table = Table(settings.data)
    deal = table.deal(1)
    found = run(settings, table.rows, deal, Cell("FedAvg", 0.2, 1))
    other = by_hand(settings, table, fedge.Algorithm())
    shared = [told["accuracy_before"] for told in other.figures.values()]
    assert found.own == Own(8, fmean(shared), min(shared))


def test_of_a_regression_the_largest_rmse_is_the_worst(tmp_path: Path) -> None:
    rows = "\n".join(f"{k % 7},{(k * k) % 11},{3 * (k % 7) + (k * k) % 11}" for k in range(150))
    (tmp_path / "rows.csv").write_text(f"a,b,t\n{rows}\n", encoding="utf-8")
    data = {"dataset": str(tmp_path / "rows.csv"), "targets": ["t"], "split": {"by": "iid", "devices": 3}}
    settings = load(tmp_path, data=data)
    table = Table(settings.data)
    found = run(settings, table.rows, table.deal(1), Cell("tuned", 0.2, 1)).own
    told = by_hand(settings, table, TUNED).figures.values()
    used, alone = ([one[f"rmse_{which}"] for one in told] for which in ("personal", "alone"))
    assert found is not None
    assert (found.devices, found.mean, found.worst, found.alone) == (3, fmean(used), max(used), fmean(alone))


@pytest.mark.slow
def test_devices_leave_windows_out_that_overlap_held_out_ones(tmp_path: Path) -> None:
    """Each trains on as many rows as the deal has counted: one fewer for each of its recordings."""
    data = {"dataset": "watch", "holdout": 0.25, "split": {"by": "column"}}
    settings = load(tmp_path, data=data, study={"compare": False})
    table = Table(settings.data)
    deal = table.deal(1)
    found = run(settings, table.rows, deal, Cell("FedAvg", 0.2, 1))
    with_gap, without = (by_hand(settings, table, fedge.Algorithm(), gap=gap) for gap in (1, 0))
    assert found.curve == with_gap.curve != without.curve
    assert with_gap.history[-1].samples == deal.training < without.history[-1].samples


def test_a_run_that_diverges_tells_none(tmp_path: Path) -> None:
    settings = load(tmp_path, study={"rates": [1000.0]}, model={"layers": [{"type": "dense", "units": 8}]})
    table = Table(settings.data)
    found = run(settings, table.rows, table.deal(1), Cell("FedAvg", 1000.0, 1))
    assert (found.stopped, found.own) == ("diverged", None)


def a_run(rate: float, seed: int, best: float, own: Own | None) -> Run:
    return Run(Cell("A", rate, seed), (Point(0, 0, 0, best, 0.0, None),), "rounds", 1.0, own)


def test_the_table_has_means_over_the_seeds() -> None:
    """Two seeds: .9 and .96 are .93 ± .06/√2 = .042; 0 and 1 of 20 devices are .5 ± .7."""
    runs = [
        a_run(0.1, 1, 0.8, Own(20, 0.9, 0.5, 0.7, 20, 0)),
        a_run(0.1, 2, 0.8, Own(20, 0.96, 0.6, 0.8, 20, 1)),
    ]
    found = result(runs, ["A"], "accuracy", None)
    assert own_columns(found) == ["own, %", "worst, %", "alone, %", "worse off"]
    assert own_texts(found, found.rows[0]) == [
        "93.0 ± 4.2",
        "55.0 ± 7.1",
        "75.0 ± 7.1",
        "0.5 ± 0.7 of 20",
    ]
    assert own_columns(result([a_run(0.1, 1, 4.0, Own(2, 3.0, 5.0))], ["A"], "rmse", None)) == [
        "own RMSE",
        "worst RMSE",
    ]
    without = result([a_run(0.1, 1, 0.8, None)], ["A"], "accuracy", None)
    assert own_columns(without) == own_texts(without, without.rows[0]) == []
    assert shown_own(without) is None


def test_the_best_rate_is_that_of_the_models_that_devices_use() -> None:
    """The shared model is better with .1, and the models in use with .5."""
    runs = [a_run(0.1, 1, 0.9, Own(20, 0.9, 0.5)), a_run(0.5, 1, 0.8, Own(20, 0.95, 0.5))]
    assert result(runs, ["A"], "accuracy", None).chosen["A"].rate == 0.5
    assert (
        result(
            [a_run(run.cell.rate, 1, run.curve[0].accuracy or 0, None) for run in runs],
            ["A"],
            "accuracy",
            None,
        )
        .chosen["A"]
        .rate
        == 0.1
    )


@pytest.mark.parametrize(
    ("tables", "facts"),
    [
        ({"data": {"holdout": 0.0}}, ("'tuned'", "personal", "[data] holdout", "0.2")),
        (
            {"data": {"holdout": 0.0}, "algorithm": [{"name": "FedAvg"}]},
            ("[study] compare", "[data] holdout", "0.2"),
        ),
        ({"data": {"holdout": 0.95}}, ("[data] holdout", "0.9")),
        (
            {"study": {"target": 0.9, "stop_at_target": True}},
            ("[study] stop_at_target", "'tuned'", "personal"),
        ),
        (
            {"study": {"seconds": 60.0, "engine": "cores"}, "speeds": {"sigma": 1.0}},
            ("[study] seconds", "'tuned'", "personal"),
        ),
    ],
)
def test_what_does_not_go_together_is_refused(
    tables: dict[str, Any], facts: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, **tables)
    assert_tells(str(error.value), "study.toml", *facts)


@pytest.mark.parametrize(
    ("algorithm", "facts"),
    [
        ({"personal": "clusters"}, ("'A'", "'clusters'", '[study] engine = "cores"')),
        ({"personal": "tune"}, ("'A'", "'tune'", "finetune")),
        ({"personal": "ditto", "personal_options": {"pul": 1.0}}, ("'A'", "pul")),
        ({"plan": {"compare": True}}, ("'A'", "compare")),
    ],
)
def test_a_personal_model_is_checked_before_anything_runs(
    algorithm: dict[str, Any], facts: tuple[str, ...], tmp_path: Path
) -> None:
    settings = load(tmp_path, algorithm=[{"name": "A", **algorithm}])
    with pytest.raises(ConfigError) as error:
        check(settings, Table(settings.data).rows, 8)
    assert_tells(str(error.value), *facts)


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path) -> None:
    """It runs for a minute, so two rounds of one rate and seed are run here, as the command."""
    content = tomllib.loads(EXAMPLE.read_text(encoding="utf-8"))
    assert [one.get("personal") for one in content["algorithm"]] == [None, "finetune", "ditto"]
    content["study"] |= {"rounds": 2, "seeds": [1], "rates": [0.1]}
    path, out = tmp_path / "study.toml", tmp_path / "out"
    path.write_text(toml(content), encoding="utf-8")
    ran = CliRunner().invoke(app, ["simulate", str(path), "--out", str(out), "--jobs", "1"])
    assert ran.exit_code == 0, ran.output
    assert_tells(ran.stdout, "1080", "340", "359", "own, %", "worst, %", "alone, %", "worse off", "of 20")
    told = json.loads((out / "result.json").read_text(encoding="utf-8"))
    assert told["held_out_rows"] == 340  # 20 devices of 71 rows; a fourth is 17
    for row in told["rows"]:
        assert row["compared"]["mean"] == 20
        assert row["own_worst"]["mean"] < row["own"]["mean"]
    page = (out / "report.html").read_text(encoding="utf-8")
    for fact in ("own, %", "worse off", "340", "personal = ditto"):
        assert fact in page, fact
