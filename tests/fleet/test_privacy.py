"""`fedge privacy plan`: its table, its JSON, its exit codes."""

import json
import os
import sys

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


def test_it_says_what_is_open() -> None:
    """Nobody takes the plan for protection that a federation has."""
    done = CliRunner().invoke(app, RUN)
    assert_tells(done.output, "no federation adds this noise yet", "accuracy is not simulated")
    found = json.loads(CliRunner().invoke(app, [*RUN, "--json"]).output)
    assert found["integrated"] is False
    assert found["accuracy"] is None


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
