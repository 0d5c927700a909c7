"""`fedge privacy plan`: its table, its JSON, its exit codes."""

import json
import os
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleet.cli.commands import app
from tests.wording import assert_tells

RUN = ["privacy", "plan"]


def test_it_tells_the_noise_beside_the_signal() -> None:
    done = CliRunner().invoke(app, RUN, env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    assert_tells(done.output, "ε = 4 at δ = 1e-05", "the server", "16.4", "0.00164", "0.164")
    assert_tells(done.output, "each device alone", "32.7", "0.327")
    assert_tells(done.output, "the mean change of 10,000 devices is 1 long if all agree", "0.01 in a weight")
    assert_tells(done.output, "RDP over 200 rounds", "no amplification by sampling")


def test_without_data_it_tells_no_accuracy() -> None:
    done = CliRunner().invoke(app, RUN)
    assert "accuracy to expect" not in done.output
    assert_tells(done.output, "what a federation does with this noise", "docs/privacy.md")
    assert json.loads(CliRunner().invoke(app, [*RUN, "--json"]).output)["accuracy"] is None


ON = [*RUN, "--on", "digits", "--devices", "1000", "--rounds", "40", "--seeds", "2"]


def test_on_data_it_tells_the_accuracy_beside_that_without_noise() -> None:
    done = CliRunner().invoke(app, [*ON, "--rate", "2", "--clip", "1"], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    assert_tells(
        done.output, "rounds are simulated, about", "accuracy to expect: 0.9", "without noise (2 seeds)"
    )
    assert_tells(done.output, "50 devices, each for 20 equal ones of 1,000", "learning rate 2, clip 1")


def test_its_json_has_the_accuracy_of_each_seed() -> None:
    done = CliRunner().invoke(app, [*ON, "--json"])
    found = json.loads(done.stdout)
    told = found["accuracy"]
    assert len(told["private"]["by_seed"]) == 2
    assert 0.9 < told["private"]["mean"] <= told["without"]["mean"] + 0.02
    assert found["wanted"]["weights"] == 650
    assert found["wanted"]["clip"] == told["course"]["clip"]
    assert told["multiplier"] == pytest.approx(found["central"]["multiplier"])


def test_a_study_says_its_data_and_its_network(tmp_path: Path) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        '[study]\nname = "s"\nrounds = 3\nrates = [0.1]\n[data]\ndataset = "digits"\n'
        'split = { by = "iid", devices = 10 }\n[model]\nlayers = [{ type = "dense", units = 4 }]\n'
        '[[algorithm]]\nname = "fedavg"\n'
    )
    wanted = ["--on", str(file), "--rounds", "2", "--rate", "1", "--clip", "1", "--json"]
    found = json.loads(CliRunner().invoke(app, [*RUN, *wanted]).stdout)
    assert found["wanted"]["weights"] == 64 * 4 + 4 + 4 * 10 + 10
    assert found["accuracy"]["simulated_devices"] == 10


@pytest.mark.parametrize("wanted", [["--on", "nowhere.csv"], ["--on", "nothing"], ["--rate", "1"]])
def test_what_cannot_be_simulated_is_a_message(wanted: list[str]) -> None:
    done = CliRunner().invoke(app, [*RUN, *wanted])
    assert done.exit_code in {os.EX_USAGE, os.EX_DATAERR, os.EX_CONFIG}
    assert_tells(done.output, "fedge privacy plan: ", wanted[-1] if wanted[0] == "--on" else "--on")


def test_its_json_has_the_same_numbers() -> None:
    done = CliRunner().invoke(app, [*RUN, "--devices", "100", "--json"])
    found = json.loads(done.output)
    assert found["central"]["multiplier"] == pytest.approx(16.3705, abs=1e-3)
    assert found["central"]["per_weight"] == pytest.approx(0.163713, abs=1e-5)
    assert found["unlike"] == 0.1
    assert (found["composition"], found["sampling"]) == ("RDP", "open")


def test_delta_falls_with_the_number_of_devices() -> None:
    done = CliRunner().invoke(app, [*RUN, "--devices", "1000000", "--json"])
    assert json.loads(done.output)["wanted"]["delta"] == pytest.approx(1e-7)


def test_what_no_noise_reaches_is_a_wrong_call() -> None:
    wanted = ["--epsilon", "0.001", "--rounds", "1000000", "--delta", "1e-90"]
    done = CliRunner().invoke(app, [*RUN, *wanted])
    assert done.exit_code == os.EX_USAGE
    assert_tells(done.output, "fedge privacy plan: no noise multiplier", "fewer rounds")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    done = CliRunner().invoke(app, RUN)
    assert done.exit_code == os.EX_CONFIG
    assert_tells(done.output, "fedge privacy plan:", "pip install 'fedge[privacy]'")
