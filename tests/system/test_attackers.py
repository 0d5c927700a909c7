"""Agents that attack, as real processes: what they send is admitted, bounded or refused as any update."""

import sys
from pathlib import Path

import pytest

from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
ROUNDS = 3


def attacks(fleet: FleetOfProcesses, name: str, attack: str) -> None:
    """Start an agent that attacks."""
    config = str(fleet.devices[name].config)
    command = [sys.executable, str(ROOT / "benchmarks" / "liar.py"), "--attack", attack, "--config", config]
    fleet.start_program(name, ["env", f"PYTHONPATH={ROOT}", *command])


def test_two_attackers_beside_five_honest_devices(fleet: FleetOfProcesses) -> None:
    """ALIE, by its own estimate, counts; noise of 10⁶ is refused once it is known what is usual."""
    fleet.configure(
        federation={"seed": 7, "devices": [f"device-{number}" for number in range(7)]},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.5},
        rounds={"quorum": 6, "deadline_s": 20.0},
        stopping={"rounds": ROUNDS},
    )
    for number in range(7):
        fleet.device(f"device-{number}", *motions(number))
    fleet.start_devices(*(f"device-{number}" for number in range(5)))
    attacks(fleet, "device-5", '{"name": "alie", "z": 1.5}')
    attacks(fleet, "device-6", '{"name": "gaussian", "std": 1e6}')
    fleet.until_connected()
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0
    rounds = [row for row in fleet.rounds() if row.kind == "train"]
    assert [row.devices for row in rounds[1:]] == [6] * (ROUNDS - 1), "the quorum, without the noise"
    told = "\n".join(path.read_text(encoding="utf-8") for path in (fleet.folder / "logs").glob("device-6*"))
    assert "too_far" in told
