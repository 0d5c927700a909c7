"""An agent that attacks sends what its attack makes of its own update and rows; no agent does by itself."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.phases.survey import Survey
from agent.phases.train import Train
from benchmarks import attacking
from fedge import Algorithm, Result, simulate
from fedge.algorithms.plan import fedsgd
from fleet.simulator.attacks.registry import attack
from tests.fleet.library.fleets import CLASSIFIER, fleet

ROOT = Path(__file__).parents[1]
STILL = 1e-12
"""A learning rate with which no weight moves."""


@pytest.fixture(autouse=True)
def honest_again(monkeypatch: pytest.MonkeyPatch) -> None:
    for phase in (Train, Survey):
        monkeypatch.setattr(phase, "contribute", phase.contribute)


def run(rate: float = 0.5, codec: str = "float32") -> Result:
    """One round of full-batch descent; 60 rows less a fifth are four parts of 12."""
    devices = {name: (X[:60], y[:60]) for name, (X, y) in fleet(3, 60).items()}
    return simulate(CLASSIFIER, devices, Algorithm(codec=codec), plan=fedsgd(rate), rounds=1, seed=4)


def change(told: str | dict[str, Any], codec: str = "float32") -> tuple[Any, Any]:
    """The change of the model by honest devices, and by devices that all attack."""
    base, honest = run(STILL).model.weights.astype(np.float64), run(codec=codec).model.weights
    attacking.begin(attack(told))
    return honest - base, run(codec=codec).model.weights - base


@pytest.mark.parametrize("codec", ["float32", "int8"])
def test_sign_flip_is_the_opposite_of_the_own_change(codec: str) -> None:
    honest, lie = change("sign-flip", codec)
    unit = 1e-6 if codec == "float32" else 0.05 * float(np.abs(honest).max())
    assert lie == pytest.approx(-honest, abs=unit)
    assert np.abs(honest).max() > 10 * unit


def test_what_needs_the_honest_is_estimated_by_parts_of_the_own_rows() -> None:
    """The mean gradient of four equal parts is that of all rows: IPM with ε = 2 is -2 times the own."""
    honest, lie = change({"name": "ipm", "epsilon": 2.0})
    assert lie == pytest.approx(-2 * honest, abs=1e-6)


def test_the_parts_differ_so_alie_has_deviations() -> None:
    honest, lie = change({"name": "alie", "z": 1.5})
    assert np.abs(lie - honest).max() > 0.01


def test_data_attacks_change_the_rows_that_it_trains_on() -> None:
    """With two classes and labels exchanged, the outputs' biases move the other way."""
    honest, lie = change("label-flip")
    assert np.sign(lie[-2:]).tolist() == (-np.sign(honest[-2:])).tolist()


def test_survey_poisoning_lies_before_training_begins() -> None:
    honest = run().model.task.network.first
    attacking.begin(attack({"name": "survey-poisoning", "shift": 10.0, "stretch": 3.0}))
    lie = run().model.task.network.first
    assert honest is not None
    assert lie is not None
    assert (lie.exact_means > honest.exact_means + 5).all()


def test_an_attack_is_named_on_the_command_line(tmp_path: Path) -> None:
    """A wrong one ends the program; with a right one it is the agent, which lacks its settings here."""

    def ended(*told: str) -> tuple[int, str]:
        command = [sys.executable, str(ROOT / "benchmarks" / "liar.py"), *told]
        found = subprocess.run(
            command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
        )
        return found.returncode, found.stderr

    missing = ("--config", "missing.toml")
    code, text = ended("--attack", "none", *missing)
    assert code == 1
    assert "liar.py --attack: unknown attack 'none'; known: alie" in text
    code, text = ended("--attack", '{"name": "ipm", "epsilon": 2.0}', *missing)
    assert code == 78, text
    assert "missing.toml" in text


def test_no_program_of_a_device_has_an_attack() -> None:
    """What a device runs imports neither `fleet` nor `benchmarks`."""
    code = "import agent.__main__, sys; print([name for name in sys.modules if 'attack' in name])"
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.stdout.strip() == "[]", found.stderr
    files = [path for folder in ("agent", "fedge", "aggregator") for path in (ROOT / folder).rglob("*.py")]
    named = [path for path in files if "simulator.attacks" in path.read_text(encoding="utf-8")]
    assert named == []
