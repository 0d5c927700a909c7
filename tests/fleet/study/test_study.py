"""`fedge simulate`: what it runs, writes, keeps after Ctrl-C, and refuses."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import fedge
from fedge.algorithms.plan import Plan
from fedge.errors import ConfigError
from fleet.cli.commands import app
from fleet.study.book import Book
from fleet.study.deal import Table
from fleet.study.runs import Cell, Run, cells, plan_of, run
from fleet.study.settings import StudySettings
from fleet.study.study import Study
from fleet.study.workers import run_all
from tests.system.toml_text import toml
from tests.wording import assert_tells

SMALL: dict[str, Any] = {
    "study": {"name": "small", "rounds": 2, "seeds": [1, 2], "rates": [0.05, 0.2], "engine": "cores"},
    "data": {"dataset": "digits", "split": {"by": "shards", "devices": 3}},
    "plan": {"epochs": 1, "batch_size": 50},
}
"""Four runs of each algorithm, and no hidden layer."""
FEDAVG = '[[algorithm]]\nname = "FedAvg"\n'
DYN = (
    '[[algorithm]]\nname = "FedDyn"\nlocal = "dyn"\nserver = "dyn"\nrule_options = { weights = "uniform" }\n'
)


def study(folder: Path, algorithms: str = FEDAVG, **changes: object) -> Path:
    path = folder / "study.toml"
    path.write_text(toml({**SMALL, "study": {**SMALL["study"], **changes}}) + algorithms, encoding="utf-8")
    return path


def test_a_run_is_the_federation_that_simulate_runs(tmp_path: Path) -> None:
    """The same arguments by hand give the same figures to the bit."""
    settings = StudySettings.load(study(tmp_path, FEDAVG + DYN), {})
    table = Table(settings.data)
    deal = table.deal(2)
    found = run(settings, table.rows, deal, Cell("FedDyn", 0.2, 2))
    from fedge.nn.spec import Dense, NetworkSpec
    from fedge.wire.messages.task import Task

    task = Task(
        network=NetworkSpec(inputs=64, layers=(Dense(units=10),), loss="cross-entropy"),
        features=table.rows.features,
        classes=table.rows.classes,
        reconnect_spread_s=1.0,
    )
    by_hand = fedge.simulate(
        task,
        deal.devices,
        fedge.Algorithm("dyn", server="dyn", options={"rule": {"weights": "uniform"}}),
        plan=Plan(epochs=1, batch_size=50, learning_rate=0.2),
        rounds=2,
        seed=2,
        holdout=0.0,
        test=deal.test,
    )
    assert found.curve == by_hand.curve
    assert [point.round for point in found.curve] == [0, 1, 2]


def test_each_algorithm_runs_with_each_rate_and_seed(tmp_path: Path) -> None:
    settings = StudySettings.load(study(tmp_path, FEDAVG + DYN), {})
    asked = cells(settings)
    assert len({dataclasses.astuple(cell) for cell in asked}) == len(asked) == 2 * 2 * 2


def test_who_drops_out_might_as_well_not_be_chosen(tmp_path: Path) -> None:
    """Of half of the devices a fifth does not answer: .5 · (1 - .2) = .4 of them do."""
    with_it = StudySettings.load(study(tmp_path, "[rounds]\nfraction = 0.5\ndrop_out = 0.2\n" + FEDAVG), {})
    plain = StudySettings.load(study(tmp_path, "[rounds]\nfraction = 0.4\n" + FEDAVG), {})
    told = [plan_of(one, one.algorithm[0], 0.1) for one in (with_it, plain)]
    assert told[0] == told[1]
    assert told[0][1]["rounds"]["fraction"] == 0.4


@pytest.mark.slow
def test_the_command_writes_report_and_figures(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(
        app, ["simulate", str(study(tmp_path, FEDAVG + DYN, target=0.1)), "--out", str(out), "--json"]
    )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["devices"], told["training_rows"], told["test_rows"], told["runs"]) == (3, 1438, 359, 8)
    assert [(row["algorithm"], row["rate"], row["seeds"]) for row in told["rows"]] == [
        (name, rate, [1, 2]) for name in ("FedAvg", "FedDyn") for rate in (0.05, 0.2)
    ]
    assert json.loads((out / "result.json").read_text()) == told
    page = (out / "report.html").read_text(encoding="utf-8")
    for fact in ("FedAvg", "FedDyn", "359 test rows", "Accuracy by bytes", "rounds to 10 %"):
        assert fact in page
    assert "<script src" not in page
    lines = (out / "runs.jsonl").read_text().splitlines()
    assert len(lines) == 1 + 8


def test_a_composition_that_cannot_work_is_refused_before_anything_runs(tmp_path: Path) -> None:
    half = '[[algorithm]]\nname = "half of it"\nlocal = "dyn"\n'
    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["simulate", str(study(tmp_path, FEDAVG + half)), "--out", str(out)])
    assert result.exit_code == os.EX_CONFIG
    assert_tells(
        result.stderr, "[[algorithm]]", "'half of it'", '[plan] local = "dyn"', '[server] name = "dyn"'
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("algorithm", "facts"),
    [
        ('local = "proxy"', ("'proxy'", "prox")),
        ('server = "adam"\nserver_options = { rat = 1 }', ("rat",)),
        ('schedule = "sometimes"', ("schedule", "'sometimes'", "rounds")),
        ("plan = { epochs = 0 }", ("epochs", "1")),
        ("plan = { learning_rate = 0.1 }", ("learning_rate", "[study] rates")),
    ],
)
def test_a_wrong_part_is_refused_with_its_algorithm(
    algorithm: str, facts: tuple[str, ...], tmp_path: Path
) -> None:
    path = study(tmp_path, f'{FEDAVG}[[algorithm]]\nname = "mine"\n{algorithm}\n')
    result = CliRunner().invoke(app, ["simulate", str(path), "--out", str(tmp_path / "out")])
    assert result.exit_code == os.EX_CONFIG, result.output
    assert_tells(result.stderr, "[[algorithm]]", "'mine'", *facts)


@pytest.mark.slow
def test_ctrl_c_keeps_the_runs_that_are_done_and_resume_does_the_others(tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = study(tmp_path, seeds=[1, 2, 3], rates=[0.1, 0.2], rounds=6)
    command = [
        sys.executable,
        "-m",
        "fleet",
        "simulate",
        str(path),
        "--out",
        str(out),
        "--jobs",
        "1",
        "--json",
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    runs = out / "runs.jsonl"
    end = time.monotonic() + 300
    while not runs.exists() or runs.read_bytes().count(b"\n") < 2:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert_tells(stderr, str(out), "--resume")
    kept = runs.read_bytes().splitlines()
    assert 2 <= len(kept) < 7
    assert json.loads((out / "result.json").read_text())["runs"] == len(kept) - 1
    with runs.open("ab") as file:
        file.write(kept[1][:40])  # a line that a power cut has left
    result = CliRunner().invoke(app, [*command[3:], "--resume"])
    assert result.exit_code == 0, result.output
    lines = runs.read_bytes().splitlines()
    assert lines[: len(kept)] == kept
    done = [tuple(json.loads(line)[key] for key in ("rate", "seed")) for line in lines[1:]]
    assert len(set(done)) == len(done) == 6


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which files a process has open")
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGKILL],
)
def test_no_run_leaves_its_folder_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Each run has a ledger in memory; also one that is interrupted, or whose parent dies."""
    path = study(tmp_path, rounds=100_000)
    command = [sys.executable, "-m", "fleet", "simulate", str(path), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(
        [*command, "--jobs", "1"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        end_s = time.monotonic() + 60
        while not (made := folders_of_session(process.pid)):
            assert time.monotonic() < end_s
            time.sleep(0.05)
        process.send_signal(number)
        process.wait(30)
        while left := [folder for folder in made if folder.exists()]:
            assert time.monotonic() < end_s, left
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()


def folders_of_session(session: int) -> set[Path]:
    """The temporary folders of simulations in which processes of this session have files open."""
    found: set[Path] = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.getsid(int(link.parts[2])) == session:
                found |= {one for one in link.readlink().parents if one.name.startswith("fedge-simulation-")}
        except OSError:  # it has ended, or belongs to somebody else
            continue
    return found


def test_what_is_not_the_same_study_is_not_gone_on_with(tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    again = ["simulate", str(study(tmp_path, seeds=[1], rates=[0.1])), "--out", out, "--jobs", "1"]
    assert CliRunner().invoke(app, again).exit_code == 0
    refused = CliRunner().invoke(app, again)
    assert refused.exit_code == os.EX_CONFIG
    assert_tells(refused.stderr, out, "--resume", "--out")
    study(tmp_path, seeds=[1], rates=[0.1], rounds=3)
    changed = CliRunner().invoke(app, [*again, "--resume"])
    assert changed.exit_code == os.EX_CONFIG
    assert_tells(changed.stderr, "runs.jsonl", "[study] rounds", "--out")
    nothing = CliRunner().invoke(app, ["simulate", again[1], "--out", str(tmp_path / "new"), "--resume"])
    assert nothing.exit_code == os.EX_CONFIG
    assert_tells(nothing.stderr, "new", "--resume")
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "the command takes its handler back"


def test_two_do_not_go_on_with_one_study_at_once(tmp_path: Path) -> None:
    settings = StudySettings.load(study(tmp_path))
    with Book.new(tmp_path / "out", settings, "rows"):
        with pytest.raises(ConfigError) as refused:
            Book.resume(tmp_path / "out", settings, "rows")
        assert_tells(str(refused.value), "runs.jsonl", "--out")
    with Book.resume(tmp_path / "out", settings, "rows") as book:
        assert book.runs == []


def test_a_study_is_not_gone_on_with_after_its_data_have_changed(tmp_path: Path) -> None:
    """The same settings, and one number of one row is another one."""
    rows = [f"{k % 7},{k % 5},{'ab'[k % 2]}" for k in range(100)]
    data = {"dataset": str(tmp_path / "rows.csv"), "split": {"by": "iid", "devices": 3}}
    settings = StudySettings.model_validate(
        {"study": {"name": "a", "rounds": 1, "rates": [0.1]}, "data": data, "algorithm": [{"name": "A"}]}
    )

    def written(first: str) -> str:
        (tmp_path / "rows.csv").write_text("\n".join(["u,v,label", first, *rows[1:]]), encoding="utf-8")
        return Study.checked(settings).data

    with Book.new(tmp_path / "out", settings, written(rows[0])):
        pass
    with pytest.raises(ConfigError) as refused:
        Book.resume(tmp_path / "out", settings, written("9,0,a"))
    assert_tells(str(refused.value), "runs.jsonl", "[data]", "--out")
    with Book.resume(tmp_path / "out", settings, written(rows[0])) as book:
        assert book.runs == []
    path = tmp_path / "out" / "runs.jsonl"
    told = json.loads(path.read_text(encoding="utf-8"))
    del told["data"]  # as an older program wrote it
    path.write_text(json.dumps(told) + "\n", encoding="utf-8")
    with Book.resume(tmp_path / "out", settings, "other rows") as book:
        assert book.runs == []


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("ten years")
    result = CliRunner().invoke(app, ["simulate", str(study(tmp_path)), "--out", str(tmp_path)])
    assert result.exit_code == os.EX_CONFIG
    assert_tells(result.stderr, str(tmp_path), "--out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.toml", "thesis.txt"]


def test_a_damaged_book_is_told(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "runs.jsonl").write_text('{"format": 1}\nnonsense\n')
    result = CliRunner().invoke(app, ["simulate", str(study(tmp_path)), "--out", str(out), "--resume"])
    assert result.exit_code == os.EX_IOERR
    assert_tells(result.stderr, "runs.jsonl", "--out")


@pytest.mark.slow
def test_the_example_is_checked(tmp_path: Path) -> None:
    """Its compositions and its split; it runs for a minute, so one round of it is run here."""
    text = (Path(__file__).parents[3] / "examples" / "study.toml").read_text(encoding="utf-8")
    short = text.replace("rounds = 40", "rounds = 1").replace("seeds = [1, 2]", "seeds = [1]")
    short = short.replace("rates = [0.02, 0.05, 0.1, 0.2]", "rates = [0.1]")
    assert short.count("= 1\n") + short.count("[1]\n") >= 2
    path = tmp_path / "study.toml"
    path.write_text(short, encoding="utf-8")
    result = CliRunner().invoke(app, ["simulate", str(path), "--out", str(tmp_path / "out"), "--jobs", "1"])
    assert result.exit_code == 0, result.output
    for name in ("FedAvg", "FedProx", "SCAFFOLD", "FedAvgM", "FedAdam"):
        assert name in result.stdout


def test_a_run_can_be_given_fewer_rounds(tmp_path: Path) -> None:
    """Who runs the cells says so, when each begins; the rounds before are those of a longer run."""
    settings = StudySettings.load(study(tmp_path), {})
    whole, short = Cell("FedAvg", 0.05, 1), Cell("FedAvg", 0.2, 1)
    asked: list[Cell] = []

    def most(cell: Cell) -> int:
        asked.append(cell)
        return 2 if cell == whole else 1

    told = run_all(settings, [whole, short], 1, most=most)
    by_cell = {one.cell: one for one in told if isinstance(one, Run)}
    assert asked == [whole, short]
    assert [point.round for point in by_cell[whole].curve] == [0, 1, 2]
    table = Table(settings.data)
    longer = run(settings, table.rows, table.deal(1), short)
    assert by_cell[short].curve == longer.curve[:-1]
