"""Secure aggregation with real processes, certificates and Mosquitto."""

import json
from pathlib import Path

import numpy as np
import pytest

from aggregator.aggregation.replay import replay
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.production import Production, needs_mosquitto

pytestmark = [pytest.mark.system, needs_mosquitto]


def masked(fleet: FleetOfProcesses, devices: int = 4, rounds: int = 2, **masking: object) -> None:
    fleet.configure(
        federation={"seed": 7},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05},
        rounds={"quorum": 3, "target": devices, "deadline_s": 300.0},
        stopping={"rounds": rounds},
        masking={"on": True, "clip": 0.5, "phase_s": 60.0, **masking},
    )
    for number in range(devices):
        fleet.device(f"device-{number}", *motions(number))


@pytest.fixture
def secure(greenhouse: Production, tmp_path: Path) -> FleetOfProcesses:
    return FleetOfProcesses(tmp_path / "fleet", greenhouse.broker, greenhouse)


def promised(fleet: FleetOfProcesses, device: str) -> np.ndarray:
    """The levels of a device's newest update, as its own memory holds them."""
    (levels,) = query(fleet.devices[device].folder / "state" / "agent.db", "SELECT levels FROM masked")[0]
    return np.frombuffer(levels, "<i2").astype(np.int64)


def check_last_sum(fleet: FleetOfProcesses, survivors: set[str]) -> None:
    """The ledger's newest sum is that of the survivors' updates, and the model follows from it alone."""
    number, devices, levels = query(
        fleet.ledger, "SELECT round, devices, levels FROM masked_sums ORDER BY round DESC LIMIT 1"
    )[0]
    assert set(json.loads(devices)) == survivors
    expected = sum(promised(fleet, device) for device in survivors)
    assert (np.frombuffer(levels, "<i8") == expected).all()
    assert np.abs(expected).max() > 0, "an update that changes nothing proves nothing"
    assert replay(fleet.ledger, number, seed=7).same
    assert query(fleet.ledger, "SELECT count(*) FROM masking") == [(0,)]


def test_a_masked_fleet_learns_and_the_ledger_holds_sums_alone(secure: FleetOfProcesses) -> None:
    with secure as fleet:
        masked(fleet)
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        assert fleet.ends() == 0
        rows = [row for row in fleet.rounds() if row.kind == "masked"]
        assert [(row.closed, row.devices) for row in rows] == [(True, 4), (True, 4)]
        check_last_sum(fleet, set(fleet.devices))
        (frames,) = query(
            fleet.ledger,
            "SELECT count(*) FROM frames WHERE digest NOT IN (SELECT digest FROM answers)",
        )[0]
        assert frames == 0, "masked updates are freed with the sum"
