"""How a program ends that calls `fedge.simulate`: with the error alone, and without files in memory."""

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedge import FedgeError, simulate
from tests.fleet.library.fleets import CLASSIFIER, PLAN, fleet

ROOT = Path(__file__).parents[3]
FAILS = """
import fedge
from tests.fleet.library.fleets import CLASSIFIER, fleet
devices = fleet()
devices["pi-3"] = tuple(part[:8] for part in devices["pi-3"])
fedge.simulate(CLASSIFIER, devices, rounds=1)
"""
WAITS = """
import sys
from pathlib import Path
import fedge
from fedge.algorithms.local.sgd import Sgd
from fleet.library import simulation
from tests.fleet.library.fleets import CLASSIFIER, fleet

class Waiting(Sgd):
    def run(self, *values):
        print("trains", flush=True)
        sys.stdin.read()

simulation.MEMORY = Path(sys.argv[1])
fedge.simulate(CLASSIFIER, fleet(), fedge.Algorithm(local=Waiting()))
"""


def program(text: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def test_a_simulation_that_fails_prints_its_error_alone() -> None:
    with program(FAILS) as failing:
        said = failing.communicate(timeout=300)[1].splitlines()
    assert said[0].startswith("Traceback")
    assert [line for line in said if line.startswith(FedgeError.__module__)] == said[-1:]
    assert all(line.startswith(" ") for line in said[1:-1]), said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_folder_behind(number: signal.Signals, tmp_path: Path) -> None:
    with program(WAITS, str(tmp_path)) as waiting:
        try:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "trains\n"
            assert list(tmp_path.iterdir())
            waiting.send_signal(number)
            assert waiting.wait(300) == -number
        finally:
            waiting.kill()
    assert list(tmp_path.iterdir()) == []


def test_warnings_of_a_simulation_that_succeeds_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Python prints them where nobody has configured logging; who has gets them as they come."""
    devices = fleet()
    X, y = devices["pi-3"]
    devices["pi-3"] = (X, y.copy())
    devices["pi-3"][1][-10:] = "high"  # none of those held out is low
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    simulate(CLASSIFIER, devices, plan=PLAN, rounds=1)
    assert "low" in capsys.readouterr().err
    assert all(not logging.getLogger(name).handlers for name in ("fedge", "agent", "aggregator"))
