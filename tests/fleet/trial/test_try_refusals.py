"""`fedge try` as it is called: what it refuses, and what it leaves alone."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleet.cli.commands import app
from fleet.cli.data_options import data_options
from fleet.trial.files import discover
from fleet.trial.options import ELSEWHERE, Options
from fleet.trial.participants import read, unfinished
from fleet.trial.proposal import Wish
from fleet.trial.usage import UsageError
from tests.fleet.trial.phones import recorded
from tests.wording import assert_tells


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
    assert_tells(result.stderr, "--out out: ", wanted.removesuffix("/."))
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
    for words in ("--devices-from phone", "--regression pm25", "--leave-one-out"):
        assert words in text
    assert_tells(text, "exit codes: ", *(f"{code} " for code in (0, 64, 65, 78, 130)))


def test_a_key_of_data_is_read_as_in_agent_toml() -> None:
    found = data_options(['columns=["a", "b"]', "comment = #"], ELSEWHERE)
    assert found == {"columns": ["a", "b"], "comment": "#"}
    with pytest.raises(UsageError):
        data_options(["=1"], ELSEWHERE)
