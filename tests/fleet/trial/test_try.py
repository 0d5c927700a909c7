"""`fedge try` as it is called: what it refuses, and a whole run with real processes on small files."""

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
from typer.testing import CliRunner

import fleet
from agent.config import AgentSettings
from agent.sources import open_source
from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE as LEDGER
from aggregator.ledger.views import RoundRow, read_rounds
from aggregator.settings.rounds import RoundsSection
from aggregator.settings.state import StateSection
from fedge.errors import StateError
from fleet.cli.commands import app
from fleet.cli.data_options import data_options
from fleet.demo.learning import data_of
from fleet.demo.provision import Federation
from fleet.demo.verification import answers
from fleet.trial import twin
from fleet.trial.files import discover
from fleet.trial.options import ELSEWHERE, Options
from fleet.trial.participants import read, unfinished
from fleet.trial.proposal import Wish
from fleet.trial.usage import UsageError
from tests.wording import assert_tells

CENTRES = {"idle": (0.0, 0.0), "walk": (4.0, 0.0), "run": (0.0, 4.0)}


def recorded(path: Path, classes: list[str], rows: int, seed: int, *, lacking: int = 0) -> None:
    """A phone's file, sorted by class: a time, two sensors, one constant; some values are missing."""
    rng = np.random.default_rng(seed)
    lines = ["time,ax,ay,battery,activity"]
    for k in range(rows):
        name = classes[k * len(classes) // rows]
        x, y = rng.normal(CENTRES[name], 1.0)
        shown = "" if k < lacking else f"{x:.3f}"
        lines.append(f"2026-05-01T10:{k // 60:02}:{k % 60:02}Z,{shown},{y:.3f},3.3,{name}")
    path.write_text("\n".join(lines) + "\n")


def run(folder: Path, module: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Call a program in a folder, as a newcomer does."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(fleet.__file__).parents[1])},
    )


def tried(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return run(Path.cwd(), "fleet", "try", *arguments)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["data"], 64, "--label COLUMN.*--regression COLUMN"),
        (["nowhere", "--label", "activity"], 64, "nowhere: "),
        (["data/a.csv", "--label", "activity"], 64, r"a\.csv: .*--devices-from"),
        (["data", "--label", "activty"], 65, "'activty'.*'activity'"),
        (["data", "--label", "battery"], 65, r"'battery'.*'3\.3'.*120 rows"),
        (["data", "--regression", "battery"], 65, r"'battery'.*3\.3"),
        (["data", "--regression", "activity"], 65, "--label activity"),
        (["data", "--label", "activity", "--missing", "guess"], 64, "--missing guess: .*refuse, drop"),
        (["data", "--label", "activity", "--by", "luck"], 64, "--by luck: .*time, every"),
        (["data", "--label", "activity", "--data", "gap"], 64, "--data gap: .*KEY=VALUE"),
        (["data", "--label", "activity", "--data", "missing=drop"], 64, "missing.*--missing"),
        (["data", "--label", "activity", "--series", "time"], 65, "--by series"),
        (["data", "--label", "activity", "--data", "files=a*"], 64, "files "),
        (["data", "--label", "activity", "--data", "minimun=5"], 64, "'minimun'.*'minimum'"),
        (["data", "--label", "activity", "--data", "minimum=5"], 64, r"\[data\] minimum: "),
        (
            ["short", "--label", "activity"],
            65,
            r"1 of 2 devices .* 2:\n  b: ",
        ),
        (["data", "--label", "activity", "--out", "data"], 78, "data: "),
    ],
)
def test_what_cannot_be_tried_is_told_with_what_to_do(
    arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, rows in (("data", 60), ("short", 10)):
        (tmp_path / folder).mkdir()
        recorded(tmp_path / folder / "a.csv", ["idle", "walk"], 60, 1)
        recorded(tmp_path / folder / "b.csv", ["idle", "walk"], rows, 2)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["try", "--json", *arguments])
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    assert re.search(message, result.stderr)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("inside", [".", "raw", "link"])
def test_files_that_lie_where_everything_is_made_anew_are_left_alone(
    inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An earlier trial's folder is emptied for the next one: not with the files to be read in it."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "out" / ("raw" if inside == "link" else inside)
    place.mkdir(parents=True)
    (tmp_path / "out" / ".fedge-try").touch()
    for name in ("a", "b"):
        recorded(place / f"{name}.csv", ["idle", "walk"], 60, 1)
    if inside == "link":
        (tmp_path / "link").symlink_to(place)
    wanted = "link" if inside == "link" else f"out/{inside}"
    result = CliRunner().invoke(app, ["try", wanted, "--label", "activity", "--out", "out", "--rounds", "1"])
    assert result.exit_code == 78, result.output
    assert_tells(result.stderr, "--out out", str(Path(wanted)), "emptied")
    assert sorted(file.name for file in place.glob("*.csv")) == ["a.csv", "b.csv"]


def test_what_an_earlier_trial_made_stays_where_the_next_one_cannot_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelt label is no reason to lose a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        recorded(tmp_path / "data" / f"{name}.csv", ["idle", "walk"], 60, 1)
    model = tmp_path / "out" / "try" / "export" / "model.onnx"
    model.parent.mkdir(parents=True)
    model.write_bytes(b"a model")
    (tmp_path / "out" / "try" / ".fedge-try").touch()
    result = CliRunner().invoke(app, ["try", "data", "--label", "activty"])
    assert result.exit_code == 65, result.output
    assert model.read_bytes() == b"a model"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["try"]
    assert not (tmp_path / "out" / "try" / "devices").exists()


def test_last_lines_that_are_not_used_are_told_once(tmp_path: Path) -> None:
    options = Options(tmp_path, Wish(label="activity"))
    for name in ("a", "b", "c"):
        recorded(tmp_path / f"{name}.csv", ["idle", "walk"], 60, 1)
    for name in ("a", "c"):
        file = tmp_path / f"{name}.csv"
        file.write_text(file.read_text().rstrip())
    devices = [read(one, tmp_path / "out" / one.device, options) for one in discover(tmp_path).devices]
    (said,) = unfinished(devices)
    assert_tells(said, "last line", "2 of 3 devices", "a, c")
    assert unfinished(devices[1:2]) == []


def test_the_help_teaches_each_form() -> None:
    text = CliRunner().invoke(app, ["try", "--help"], env={"COLUMNS": "100"}).output
    for words in ("--devices-from phone", "--regression pm25", "--leave-one-out", "exit codes: 0 done"):
        assert words in text


def test_a_key_of_data_is_read_as_in_agent_toml() -> None:
    found = data_options(['columns=["a", "b"]', "comment = #"], ELSEWHERE)
    assert found == {"columns": ["a", "b"], "comment": "#"}
    with pytest.raises(UsageError):
        data_options(["=1"], ELSEWHERE)


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
    assert_tells(found["left_out"]["battery"], "the same")
    assert found["holdout"] == {"part": 0.2, "by": "every"}  # else only the last class would be held out
    assert found["missing"] == "fill"
    assert found["excluded"].keys() == {"phone-d"}
    assert any("phone-d does not take part: " in warning for warning in found["warnings"])
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
    assert "Class by class, round by round" in page
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
    for line in (
        "features  2: ax, ay",
        "left out  time: is no column of numbers (line 2: not a number); battery: is always the same",
        "classes  idle (60 rows), walk (60 rows)",
        "held out  0.2 of each device's rows: one in 5, from everywhere in the file",
        "missing  a missing value counts as the fleet's mean of its column",
        "accuracy on each device's own held-out rows",
        "report  out/try/report.html",
    ):
        assert line in lines, result.stdout
    next_ = {name: text for name, _, text in (line.partition("  ") for line in lines)}
    program, *arguments = shlex.split(next_["predict"])
    assert program == "fedge-agent"
    (tmp_path / "NEW.csv").write_text("ax,ay\n0,0\n4,0\n")
    answered = run(tmp_path, "agent", *arguments)
    assert (answered.returncode, len(answered.stdout.splitlines())) == (0, 3), answered.stderr
    program, *arguments = shlex.split(next_["take up"].replace("NAME", "phones"))
    assert program == "fedge"
    made = run(tmp_path, "fleet", *arguments)
    assert (made.returncode, "2 features (ax, ay)" in made.stderr) == (0, True), made.stderr


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
    assert any("the time was up" in warning for warning in found["warnings"])
    assert 0 < found["rounds"] < 100_000
    report = Path(found["report"]).read_text()
    assert "Errors of pm" in report
    assert f"<td>always the mean of the training rows</td><td>{found['rmse_mean']:.4g}</td>" in report
    assert "0.2 of each device&#x27;s rows: the last ones" in report


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
