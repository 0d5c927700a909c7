"""Devices of unlike speed in a study: what is drawn, run, told and refused."""

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from fedge.errors import ConfigError
from fleet.cli.commands import app
from fleet.library.results import Point
from fleet.study.deal import Table
from fleet.study.runs import Cell, Run, check, plan_of, run
from fleet.study.settings import SpeedsSection, StudySettings
from fleet.study.speeds import drawn
from fleet.study.table import result
from fleet.study.terminal import columns, texts
from fleet.study.workers import Round, run_all
from tests.system.toml_text import toml
from tests.wording import assert_tells

DEVICES = tuple(f"d{number:04d}" for number in range(4_000))

STUDY: dict[str, Any] = {
    "study": {"name": "speeds", "rounds": 6, "rates": [0.1], "engine": "cores", "target": 0.1},
    "data": {"dataset": "digits", "split": {"by": "iid", "devices": 4}},
    "plan": {"epochs": 1, "batch_size": 50},
    "speeds": {"by": "slow", "median_s": 10.0, "share": 0.25, "times": 5.0},
    "algorithm": [
        {"name": "FedAvg"},
        {"name": "three of four", "rounds": {"target": 3}},
        {"name": "FedBuff", "schedule": "buffered", "rounds": {"target": 2}},
    ],
}
"""Three devices need 10 s, and one 50 s."""


def settings_of(folder: Path, **tables: Any) -> StudySettings:
    path = folder / "study.toml"
    path.write_text(toml({**STUDY, **tables}), encoding="utf-8")
    return StudySettings.load(path, {})


def seconds_of(run_seed: int = 1, **keys: Any) -> np.ndarray:
    return np.array(list(drawn(SpeedsSection(**keys), DEVICES, run_seed).values()))


def test_the_logarithms_are_normal_around_the_median() -> None:
    """Of 4,000 draws the median and the deviation are within 5 standard errors: σ √(π / 2n), σ / √(2n)."""
    found = np.log(seconds_of(by="lognormal", median_s=20.0, sigma=0.8))
    assert abs(np.median(found) - np.log(20.0)) < 5 * 0.8 * np.sqrt(np.pi / 2 / 4_000)
    assert abs(found.std() - 0.8) < 5 * 0.8 / np.sqrt(2 * 4_000)


def test_the_tail_of_pareto_is_a_power_with_half_above_the_median() -> None:
    """P(X > x) = (x_m / x)^α with x_m = m / 2^(1/α): half above m, and 2^-(1 + α) above 2 m."""
    found = seconds_of(by="pareto", median_s=30.0, alpha=1.5)
    assert found.min() >= 30.0 / 2 ** (1 / 1.5)
    for times, share in ((1, 0.5), (2, 2**-2.5)):
        assert abs((found > times * 30.0).mean() - share) < 5 * np.sqrt(share * (1 - share) / 4_000)


def test_of_slow_ones_there_are_so_many() -> None:
    found = seconds_of(by="slow", median_s=2.0, share=0.2, times=20.0)
    assert sorted(set(found)) == [2.0, 40.0]
    assert (found == 40.0).sum() == 800


def test_of_few_devices_one_is_slow_at_the_least() -> None:
    found = drawn(SpeedsSection(by="slow", median_s=2.0, share=0.1, times=20.0), DEVICES[:3], 1)
    assert sorted(found.values()) == [2.0, 2.0, 40.0]


def test_a_seed_of_their_own_holds_for_all_runs() -> None:
    assert (seconds_of(1) != seconds_of(2)).all()
    assert (seconds_of(1, seed=7) == seconds_of(2, seed=7)).all()


def seconds(settings: StudySettings, name: str) -> list[float]:
    """When each model of a run was made, to the second: the network takes some hundredths."""
    table = Table(settings.data)
    found = run(settings, table.rows, table.deal(1), Cell(name, 0.1, 1))
    return [round(point.seconds or 0.0) for point in found.curve]


def test_curves_tell_when_each_model_was_made(tmp_path: Path) -> None:
    """A round that waits for all lasts 50 s, one that takes three of four 10 s."""
    settings = settings_of(tmp_path, study={**STUDY["study"], "rounds": 3})
    assert seconds(settings, "FedAvg") == [0, 50, 100, 150]
    assert seconds(settings, "three of four") == [0, 10, 20, 30]


def test_versions_do_not_wait_for_the_slow_device(tmp_path: Path) -> None:
    """Two of the three updates that come at 10 s make a version, and the third waits for the next one, which
    the two of 20 s join. Six versions of two take at most what three devices send in 12 / 3 · 10 s."""
    found = seconds(settings_of(tmp_path), "FedBuff")
    assert len(found) == 7
    assert found[1] == 10
    assert found[-1] <= 40


def test_a_run_ends_with_the_first_model_after_the_seconds(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, study={**STUDY["study"], "seconds": 99.0})
    assert seconds(settings, "FedAvg") == [0, 50, 100]


def test_progress_tells_when_each_model_was_made(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, study={**STUDY["study"], "rounds": 2})
    told = run_all(settings, [Cell("FedAvg", 0.1, 1)], 1)
    assert [round(one.seconds or 0.0) for one in told if isinstance(one, Round)] == [50, 100]


def test_without_speeds_no_seconds_are_told(tmp_path: Path) -> None:
    tables = {key: table for key, table in STUDY.items() if key != "speeds"}
    path = tmp_path / "study.toml"
    path.write_text(toml({**tables, "study": {**STUDY["study"], "rounds": 1}}), encoding="utf-8")
    settings = StudySettings.load(path, {})
    table = Table(settings.data)
    found = run(settings, table.rows, table.deal(1), Cell("FedAvg", 0.1, 1))
    assert [point.seconds for point in found.curve] == [None, None]


@pytest.mark.slow
def test_the_command_tells_seconds_in_table_json_and_report(tmp_path: Path) -> None:
    settings_of(tmp_path, study={**STUDY["study"], "rounds": 2})
    out = tmp_path / "out"
    ran = CliRunner().invoke(app, ["simulate", str(tmp_path / "study.toml"), "--out", str(out), "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["timed"] is True
    means = {row["algorithm"]: round(row["virtual_s"]["mean"]) for row in told["rows"]}
    assert means["FedAvg"] in (0, 50, 100)
    page = (out / "report.html").read_text(encoding="utf-8")
    for fact in ("Accuracy by seconds", "virtual seconds since training began", "s to it", "times = 5.0"):
        assert fact in page, fact
    lines = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()[1:]]
    assert all(len(Run.of_json(line).curve[0].__dict__) == len(line["curve"][0]) for line in lines)


@pytest.mark.slow
def test_an_algorithm_whose_rounds_end_before_the_seconds_is_named(tmp_path: Path) -> None:
    """Two rounds of 50 s pass 99 s, and two of 10 s do not."""
    settings_of(
        tmp_path, study={**STUDY["study"], "rounds": 2, "seconds": 99.0}, algorithm=STUDY["algorithm"][:2]
    )
    out = tmp_path / "out"
    ran = CliRunner().invoke(app, ["simulate", str(tmp_path / "study.toml"), "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    assert_tells(
        ran.stdout, "2 runs of 99 virtual seconds", "three of four had", "2 rounds", "99", "[study] rounds"
    )
    assert_tells((out / "report.html").read_text(encoding="utf-8"), "three of four had", "[study] rounds")
    assert json.loads((out / "result.json").read_text(encoding="utf-8"))["too_short"] == ["three of four"]


def timed(rate: float, figures: list[float], each_s: float) -> Run:
    curve = tuple(Point(k, 0, 0, figure, 0.0, None, k * each_s) for k, figure in enumerate(figures))
    return Run(Cell("A", rate, 1), curve, "rounds", 1.0)


def test_where_devices_train_for_a_time_the_rate_with_the_fewest_seconds_is_best() -> None:
    """.1 reaches 90 % in the third round, after 30 s; .2 in the second, after 40 s."""
    found = result([timed(0.1, [0, 0, 0, 0.9], 10.0), timed(0.2, [0, 0, 0.9], 20.0)], ["A"], "accuracy", 0.9)
    slow, fast = found.rows
    assert (slow.virtual_s and slow.virtual_s.mean, fast.virtual_s and fast.virtual_s.mean) == (30.0, 40.0)
    assert found.chosen["A"] is slow
    assert dict(zip(columns(found), texts(found, slow), strict=True))["s to it"] == "30"


def test_a_run_of_an_older_program_is_read() -> None:
    """Its points lack the seconds."""
    told = {"algorithm": "A", "rate": 0.1, "seed": 1, "stopped": "rounds", "seconds": 1.0}
    found = Run.of_json({**told, "curve": [[0, 1, 2, 0.5, 0.1, None]]})
    assert found.curve == (Point(0, 1, 2, 0.5, 0.1, None),)


@pytest.mark.parametrize(
    ("tables", "facts"),
    [
        ({"study": {"engine": "fast"}}, ("[speeds]", '[study] engine = "cores"')),
        ({"study": {"engine": "fast"}, "speeds": None}, ("'three of four'", "target", 'engine = "cores"')),
        (
            {"study": {"engine": "fast"}, "speeds": None, "algorithm": STUDY["algorithm"][2:]},
            ("'FedBuff'", "schedule", 'engine = "cores"'),
        ),
        ({"study": {"seconds": 60.0}, "speeds": None}, ("[study] seconds", "[speeds]")),
        ({"speeds": {"sigma": 2.0}}, ("[speeds] sigma", "'lognormal'", "'slow'")),
        ({"rounds": {"target": 3}}, ("[rounds] target", "[[algorithm]] rounds")),
    ],
)
def test_what_does_not_go_together_is_refused(
    tables: dict[str, Any], facts: tuple[str, ...], tmp_path: Path
) -> None:
    content = {key: table for key, table in STUDY.items() if key not in tables or tables[key] is not None}
    for name, table in tables.items():
        if isinstance(table, dict):
            content[name] = {**content.get(name, {}), **table}
        elif table is not None:
            content[name] = table
    path = tmp_path / "study.toml"
    path.write_text(toml(content), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        StudySettings.load(path, {})
    assert_tells(str(error.value), "study.toml", *facts)


@pytest.mark.parametrize(
    ("algorithm", "rounds", "facts"),
    [
        ({"schedule": "buffered"}, {}, ("'A'", "target")),
        ({"rounds": {"schedule": "buffered"}}, {}, ("'A'", "rounds", "schedule")),
        ({"rounds": {"drop_out": 0.1}}, {}, ("'A'", "rounds", "drop_out", "[rounds]")),
        ({"rounds": {"targets": 3}}, {}, ("'A'", "rounds", "targets")),
        ({"schedule": "buffered", "rounds": {"target": 2}}, {"drop_out": 0.1}, ("'A'", "drop_out")),
        ({"schedule": "buffered", "rounds": {"target": 2}}, {"fraction": 0.5}, ("'A'", "fraction")),
    ],
)
def test_rounds_of_an_algorithm_are_checked_before_anything_runs(
    algorithm: dict[str, Any], rounds: dict[str, Any], facts: tuple[str, ...], tmp_path: Path
) -> None:
    settings = settings_of(tmp_path, algorithm=[{"name": "A", **algorithm}], rounds=rounds)
    with pytest.raises(ConfigError) as error:
        check(settings, Table(settings.data).rows, 4)
    assert_tells(str(error.value), *facts)


def test_rounds_have_no_deadline_that_a_slow_device_could_miss(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    assert plan_of(settings, settings.algorithm[0], 0.1)[1]["rounds"]["deadline_s"] == 30 * 86_400
    own = settings.algorithm[0].model_copy(update={"rounds": {"deadline_s": 60.0}})
    assert plan_of(settings, own, 0.1)[1]["rounds"]["deadline_s"] == 60.0


def test_the_example_reads_with_speeds(tmp_path: Path) -> None:
    content = tomllib.loads((Path(__file__).parents[3] / "examples" / "speeds.toml").read_text("utf-8"))
    assert content["study"]["engine"] == "cores"
    settings = StudySettings.load(Path(__file__).parents[3] / "examples" / "speeds.toml", {})
    check(settings, Table(settings.data).rows, 40)
