"""`fedge init --like`: features and classes of a file, in the settings of a federation and its devices."""

import os
import tomllib
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from agent.config import AgentSettings
from agent.settings.sources import CsvSettings
from aggregator.config import FederationSettings
from fedge.algorithms.plan import Plan
from fedge.nn.spec import Dense, ReLU
from fleet.cli.commands import app
from fleet.demo.provision import write_agent, write_federation
from fleet.trial.column_proposal import Proposal
from fleet.trial.settings_text import model_table
from tests.fleet.test_proposal import DAMP, HEAT, ROWS, STATE, csv
from tests.wording import assert_tells, lines_telling


def init(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["init", "rooms", "--folder", str(folder / "rooms"), *options])


def settings(folder: Path) -> FederationSettings:
    return FederationSettings.load(folder / "rooms" / "federation.toml", {})


def devices(folder: Path) -> AgentSettings:
    """What a device reads that is enrolled: its own lines, and those of all devices."""
    text = (folder / "rooms" / "device.toml").read_text()
    (folder / "agent.toml").write_text(f'federation = "rooms"\ndevice = "pi-1"\n{text}')
    return AgentSettings.load(folder / "agent.toml", {})


def test_features_and_classes_come_from_the_file(tmp_path: Path) -> None:
    file = csv(tmp_path / "a.csv", time=range(ROWS), heat=HEAT, battery=3.3, damp=DAMP, activity=STATE)
    done = init(tmp_path, "--like", str(file), "--label", "activity")
    assert done.exit_code == 0, done.output
    model = settings(tmp_path).model
    assert (model.features, model.classes) == (("heat", "damp"), ("run", "sit", "walk"))
    assert model.layers == (Dense(units=16), ReLU())
    data = devices(tmp_path).data
    assert isinstance(data, CsvSettings)
    assert data.label == "activity"
    assert_tells(done.stderr, "a.csv", "2 ", "(heat, damp)", "3 ", "(run, sit, walk)")
    written = (tmp_path / "rooms" / "federation.toml").read_text()
    for name, reason in (("'time'", "time"), ("'battery'", "same")):
        (said,) = lines_telling(done.stderr, name, reason)
        (comment,) = lines_telling(written, name, reason)
        assert comment.startswith("# ")
        assert said.partition(name)[2] in comment, "the same reason"


def test_it_is_said_how_many_rows_lack_a_value(tmp_path: Path) -> None:
    heat = np.where(np.arange(ROWS) < 3, "", HEAT.astype(str))
    file = csv(tmp_path / "a.csv", heat=heat, activity=STATE)
    done = init(tmp_path, "--like", str(file), "--label", "activity")
    assert_tells(done.stderr, " 3", "[data] missing")


def test_a_regressions_target_comes_from_the_file(tmp_path: Path) -> None:
    file = csv(tmp_path / "a.csv", heat=HEAT, damp=DAMP)
    done = init(tmp_path, "--like", str(file), "--regression", "damp")
    assert done.exit_code == 0, done.output
    model = settings(tmp_path).model
    assert (model.features, model.classes, model.targets) == (("heat",), None, ("damp",))
    assert lines_telling(done.stderr, "target", "damp")
    assert "label" not in (tmp_path / "rooms" / "device.toml").read_text()
    devices(tmp_path)


def test_an_archive_is_named_as_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.stack([HEAT, DAMP], 1), y=STATE)
    assert init(tmp_path, "--like", str(tmp_path / "a.npz")).exit_code == 0
    assert settings(tmp_path).model.features == ("x0", "x1")
    assert devices(tmp_path).data.source == "npz"


def test_a_file_that_nothing_can_be_learnt_from_makes_nothing(tmp_path: Path) -> None:
    file = csv(tmp_path / "a.csv", heat=HEAT, activity=STATE)
    done = init(tmp_path, "--like", str(file))
    assert done.exit_code == os.EX_DATAERR
    assert_tells(done.stderr, "a.csv: ", "'label'", "heat, activity")
    assert not (tmp_path / "rooms").exists()


@pytest.mark.parametrize(
    "options", [("--label", "x"), ("--regression", "x"), ("--like", "a", "--label", "x", "--regression", "y")]
)
def test_options_that_do_not_go_together_are_refused(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = init(tmp_path, *options)
    assert done.exit_code == os.EX_USAGE
    assert not (tmp_path / "rooms").exists()


def test_settings_that_are_there_stay_and_it_is_said(tmp_path: Path) -> None:
    assert init(tmp_path).exit_code == 0
    before = (tmp_path / "rooms" / "federation.toml").read_bytes()
    file = csv(tmp_path / "a.csv", heat=HEAT, activity=STATE)
    done = init(tmp_path, "--like", str(file), "--label", "activity")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "rooms" / "federation.toml").read_bytes() == before
    assert_tells(done.stderr, "federation.toml", "--like")


def test_every_name_can_be_written(tmp_path: Path) -> None:
    names = tuple(
        f"{sign}{i}" for i, sign in enumerate(('"', "\\", "\n", "\x7f", "\x1b", "é", "😀", "'''", "}"))
    )
    proposal = Proposal(
        features=names,
        classes=names,
        targets=None,
        left_out=(("a\nb = 1", "is\x1b always the same"),),
        layers=(Dense(units=16), ReLU()),
    )
    read = tomllib.loads(model_table(proposal, "x\ny = 2.csv"))
    assert read.keys() == {"model"}
    assert (tuple(read["model"]["features"]), tuple(read["model"]["classes"])) == (names, names)
    many = tuple(f"column {i}" for i in range(50))
    wide = Proposal(many, None, ("t",), (), (Dense(units=64), ReLU()))
    text = model_table(wide, "a.csv")
    assert tuple(tomllib.loads(text)["model"]["features"]) == many
    assert max(map(len, text.splitlines())) < 120


def test_numbers_that_mean_no_reading_are_told(tmp_path: Path) -> None:
    heat = np.where(np.arange(ROWS) < 3, -9999, HEAT)
    done = init(
        tmp_path, "--like", str(csv(tmp_path / "a.csv", heat=heat, activity=STATE)), "--label", "activity"
    )
    assert_tells(done.stderr, "'heat'", "-9999", "3 times")


def trial(folder: Path, missing: str = "fill") -> Path:
    """What `fedge try` leaves behind, as far as it is taken up."""
    (folder / ".fedge-try").touch()
    write_federation(
        folder,
        name="phones",
        seed=1,
        devices=["a", "b"],
        broker_url="mqtt://127.0.0.1:1883",
        model={"features": ["Heat [°C]", "x # y"], "classes": ["on", "off"], "layers": []},
        plan=Plan(epochs=1, batch_size=32, learning_rate=0.05, momentum=0.9),
        rounds=60,
        deadline_s=60.0,
        quorum=2,
        best_by="accuracy",
        missing=missing,
    )
    (folder / "devices" / "a").mkdir(parents=True)
    write_agent(
        folder / "devices" / "a",
        federation="phones",
        device="a",
        broker_url="mqtt://127.0.0.1:1883",
        data={"source": "csv", "path": "data.csv", "label": "State [1]", "missing": missing, "decimal": ","},
    )
    return folder


@pytest.mark.parametrize("missing", ["fill", "refuse"])
def test_a_trial_is_taken_up_as_it_was_tried(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "try"
    folder.mkdir()
    before = FederationSettings.load(trial(folder, missing) / "federation.toml", {})
    done = init(tmp_path, "--like", str(folder))
    assert done.exit_code == 0, done.output
    now = settings(tmp_path)
    for section in ("model", "plan", "data", "rounds", "stopping"):
        assert getattr(now, section) == getattr(before, section), section
    assert (now.federation.name, now.federation.devices) == ("rooms", None)
    data = devices(tmp_path).data
    assert isinstance(data, CsvSettings)
    assert (data.label, data.missing, data.decimal) == ("State [1]", missing, ",")
    assert_tells(done.stderr, "2 ", "(Heat [°C], x # y)", "on, off")


def test_a_trial_that_is_damaged_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "try"
    folder.mkdir()
    text = (trial(folder) / "federation.toml").read_text()
    for damaged, said in (
        (text.replace("[plan]", "[plans]"), "[plan]"),
        ("= 3", "line 1"),
    ):
        (folder / "federation.toml").write_text(damaged)
        done = init(tmp_path, "--like", str(folder))
        assert (done.exit_code, said in done.stderr) == (os.EX_DATAERR, True), done.output
        assert not (tmp_path / "rooms").exists()
    (folder / "federation.toml").write_text(text)
    assert "--label" in init(tmp_path, "--like", str(folder), "--label", "x").stderr
