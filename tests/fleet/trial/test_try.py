"""`fedge try` with real processes on small files: a whole run, and what it tells."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fleet
from agent.config import AgentSettings
from agent.sources import open_source
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.views import RoundRow, read_rounds
from aggregator.settings.rounds import RoundsSection
from aggregator.settings.state import StateSection
from fedge.errors import StateError
from fleet.demo.learning import data_of
from fleet.demo.provision import Federation
from fleet.demo.verification import answers
from fleet.trial import twin
from tests.fleet.trial.phones import recorded, run, tried
from tests.wording import assert_tells, lines_telling


@pytest.mark.system
def test_from_a_folder_of_files_to_a_verdict_in_json(tmp_path: Path) -> None:
    """Three phones, sorted by class, one of which never runs; and one with too few rows."""
    data, out = tmp_path / "phones", tmp_path / "out"
    data.mkdir()
    recorded(data / "Phone_A.csv", ["idle", "walk", "run"], 90, 1, lacking=3)
    recorded(data / "Phone_B.csv", ["idle", "walk", "run"], 90, 2)
    recorded(data / "Phone_C.csv", ["idle", "walk"], 60, 3)
    recorded(data / "Phone_D.csv", ["idle", "walk"], 15, 4)
    result = tried(
        str(data), "--label", "activity", "--rounds", "4", "--leave-one-out", "--json", "--out", str(out)
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["accuracy"] >= 0.85  # two centres four spreads apart: 97.7 % at best
    assert found.keys() >= {
        "accuracy",
        "accuracy_central",
        "accuracy_alone_mean",
        "worst_device",
        "warnings",
        "onnx",
        "confusion",
    }
    assert (found["rounds"], found["devices"], found["features"]) == (4, 3, ["ax", "ay"])
    assert found["left_out"].keys() == {"time", "battery"}
    assert found["holdout"] == {"part": 0.2, "by": "every"}  # else only the last class would be held out
    assert found["missing"] == "fill"
    assert found["excluded"].keys() == {"phone-d"}
    assert lines_telling("\n".join(found["warnings"]), "phone-d ", found["excluded"]["phone-d"])
    assert [row["device"] for row in found["by_device"]] == ["phone-a", "phone-b", "phone-c"]
    assert all(0 <= row["accuracy_without_it"] <= 1 for row in found["by_device"])
    assert {row["class"]: row["rows"] for row in found["by_class"]} == {"idle": 90, "run": 60, "walk": 90}
    by_round = {one["round"]: one for one in found["by_round"]}
    chosen = json.loads(Path(found["manifest"]).read_text())["round"]
    assert list(by_round) == [0, 1, 2, 3, 4]
    assert by_round[chosen]["accuracy"] == found["accuracy"] > by_round[0]["accuracy"]
    assert by_round[chosen]["recall"] == {row["class"]: row["recall"] for row in found["by_class"]}
    assert {row["class"]: row["devices"] for row in found["by_class"]} == {"idle": 3, "run": 2, "walk": 3}
    page = Path(found["report"]).read_text()
    assert found["verdict"]["text"].split(".")[0] in page
    for name in ("idle", "walk", "run"):
        assert json.dumps([name] * 5, separators=(",", ":")) in page, "a cell of each class for each round"
    assert sorted(path.name for path in data.iterdir()) == [f"Phone_{x}.csv" for x in "ABCD"]

    # What is to be taken into use works elsewhere, with the broker that everybody has.
    home = Path(found["agents"]["phone-a"]).parent
    shutil.copytree(home, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("state"))
    settings = AgentSettings.load(tmp_path / "elsewhere" / "agent.toml")
    assert settings.broker.url == "mqtt://127.0.0.1:1883"
    assert len(open_source(settings.data).read().X) == 90
    federation = FederationSettings.load(Path(found["federation"]))
    assert federation.broker.url == "mqtt://127.0.0.1:1883"
    assert (federation.rounds.target, federation.rounds.quorum) == (None, 2)  # of three: one may be away
    assert federation.state.keep_rounds == 20

    # The twin in this process computes what the processes did: so leaving one out is told of the same maths.
    files = Federation(
        federation_path := Path(found["federation"]), {d: Path(p) for d, p in found["agents"].items()}
    )
    task = FederationSettings.load(federation_path).task()
    fleet = data_of(files, task)
    X = np.concatenate([device.held_X for device in fleet.values()])
    gaps = X.copy()
    gaps[::2, 0], gaps[1::2, 1] = np.nan, np.nan
    X = np.concatenate([X, gaps])  # the exported graph fills as the devices do
    ours = twin.predict(task, fleet, federation.plan, chosen, federation.federation.seed, X)
    np.testing.assert_allclose(ours, answers(Path(found["onnx"]), X), atol=1e-5)


@pytest.mark.slow
@pytest.mark.system
def test_the_terminal_says_what_was_proposed_and_the_commands_that_go_on(tmp_path: Path) -> None:
    data = tmp_path / "my phones"
    data.mkdir()
    for k in (1, 2):
        recorded(data / f"Phone_{k}.csv", ["idle", "walk"], 60, k, lacking=1)
    call = ("my phones", "--label", "activity", "--rounds", "2")
    result = run(tmp_path, "fleet", "try", *call)
    assert result.returncode == 0, result.stderr
    lines = [line.strip() for line in result.stdout.splitlines()]
    told = {name: text for name, _, text in (line.partition("  ") for line in lines)}
    assert (told["features"], told["report"]) == ("2: ax, ay", "out/try/report.html")
    assert_tells(told["left out"], "time", "line 2", "battery")
    assert_tells(told["classes"], "idle (60 ", "walk (60 ")
    assert_tells(told["held out"], "0.2 ", " 5,")
    assert_tells(told["missing"], "mean")
    for number in (1, 2):
        assert lines_telling(result.stdout, f"phone-{number} ", f"Phone_{number}.csv")
    program, *arguments = shlex.split(told["predict"])
    assert program == "fedge-agent"
    (tmp_path / "NEW.csv").write_text("ax,ay\n0,0\n4,0\n")
    answered = run(tmp_path, "agent", *arguments)
    assert (answered.returncode, len(answered.stdout.splitlines())) == (0, 3), answered.stderr
    program, *arguments = shlex.split(told["take up"].replace("NAME", "phones"))
    assert program == "fedge"
    made = run(tmp_path, "fleet", *arguments)
    assert made.returncode == 0, made.stderr
    assert_tells(made.stderr, "2 ", "(ax, ay)")


@pytest.mark.slow
@pytest.mark.system
def test_a_trial_that_is_interrupted_leaves_settings_to_take_into_use(tmp_path: Path) -> None:
    """Ctrl-C in the middle of learning: nothing of what only the trial needed stands in the files."""
    data, out = tmp_path / "phones", tmp_path / "out"
    data.mkdir()
    for k in range(4):
        recorded(data / f"{k}.csv", ["idle", "walk"], 60, k)
    command = [sys.executable, "-m", "fleet", "try", str(data), "--label", "activity", "--rounds", "5000"]
    process = subprocess.Popen(
        [*command, "--out", str(out)],
        env={**os.environ, "PYTHONPATH": str(Path(fleet.__file__).parents[1])},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        limit_s = time.monotonic() + 120
        while not any(row.closed for row in closed_rounds(out / "state" / LEDGER)):
            assert process.poll() is None
            assert time.monotonic() < limit_s, "no round has closed"
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    finally:
        process.kill()
        process.communicate()
    federation = FederationSettings.load(out / "federation.toml", {})
    assert federation.rounds == RoundsSection(quorum=2)  # half of four
    assert federation.state == StateSection(folder=out / "state")
    assert federation.stopping.rounds == 5000
    for settings in (federation, AgentSettings.load(out / "devices" / "3" / "agent.toml", {})):
        assert settings.broker.url == "mqtt://127.0.0.1:1883"


def closed_rounds(ledger: Path) -> list[RoundRow]:
    try:
        return read_rounds(ledger) if ledger.exists() else []
    except StateError:  # it is being made
        return []


@pytest.mark.slow
@pytest.mark.system
def test_a_regression_over_one_file_split_by_a_column_within_its_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    lines = ["station,a,b,pm"]
    for k in range(240):
        a, b = rng.normal(size=2)
        lines.append(f"S{k % 3},{a:.4f},{b:.4f},{40 + 8 * a - 4 * b + rng.normal():.4f}")
    (tmp_path / "all.csv").write_text("\n".join(lines) + "\n")
    result = tried(
        str(tmp_path / "all.csv"),
        *("--regression", "pm", "--devices-from", "station", "--seconds", "12", "--rounds", "100000"),
        *("--json", "--out", str(tmp_path / "out")),
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    # the noise is 1, always the mean is off by √(64 + 16 + 1) = 9
    assert found["rmse"] < 4 < found["rmse_mean"]
    assert found.keys() >= {"rmse_central", "rmse_alone_mean", "worst_device", "warnings", "onnx"}
    assert 0 < found["rounds"] < 100_000
    assert lines_telling("\n".join(found["warnings"]), f" {found['rounds']} ", "--seconds")
    report = Path(found["report"]).read_text()
    for figure in ("rmse", "rmse_mean", "rmse_central"):
        assert f"<td>{found[figure]:.4g}</td>" in report, figure
    (held_out,) = re.findall("<td>Held out</td><td>(.*?)</td>", report)
    assert_tells(held_out, "0.2 ", "last")


@pytest.mark.slow
@pytest.mark.system
def test_the_same_seed_gives_the_same_figures_and_an_out_is_used_again(tmp_path: Path) -> None:
    data = tmp_path / "phones"
    data.mkdir()
    for k in (1, 2):
        recorded(data / f"{k}.csv", ["idle", "walk"], 60, k)
    call = (str(data), "--label", "activity", "--rounds", "2", "--json", "--out", str(tmp_path / "out"))
    one, two = (json.loads(tried(*call).stdout) for _ in range(2))
    timed = {key for key in one if key.startswith(("seconds", "bytes"))}
    assert {k: v for k, v in one.items() if k not in timed} == {
        k: v for k, v in two.items() if k not in timed
    }


def test_the_program_says_so_in_a_line(tmp_path: Path) -> None:
    result = tried(str(tmp_path), "--label", "x", "--json")
    assert (result.returncode, result.stdout) == (os.EX_DATAERR, "")
    assert result.stderr.startswith(f"fedge try: {tmp_path}: ")
    assert ".csv" in result.stderr
