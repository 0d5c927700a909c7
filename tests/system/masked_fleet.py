"""A fleet whose rounds are masked, with certificates and Mosquitto, and the check of its newest sum."""

import json
from signal import SIGKILL

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.replay import replay
from tests.system.databases import query
from tests.system.federations import CENTRES, CLASSIFIER, FEATURES, SPREAD, motions
from tests.system.fleet_of_processes import FleetOfProcesses

SEED = 7
COLUMNS = {
    name: [float(mean), float(spread)]
    for name, mean, spread in zip(FEATURES, CENTRES.mean(axis=0), CENTRES.std(axis=0) + SPREAD, strict=True)
}
"""Means and spreads, near enough, for federations without a survey."""


def masked(fleet: FleetOfProcesses, devices: int = 4, rounds: int = 1, **masking: object) -> None:
    fleet.configure(
        federation={"seed": SEED},
        model=CLASSIFIER,
        plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05},
        rounds={"quorum": 3, "target": devices, "deadline_s": 300.0},
        stopping={"rounds": rounds},
        masking={"on": True, "clip": 0.5, "phase_s": 120.0, **masking},
    )
    for number in range(devices):
        fleet.device(f"device-{number}", *motions(number))


def promised(fleet: FleetOfProcesses, device: str) -> NDArray[np.int64]:
    """The levels of a device's newest update, as its own memory holds them."""
    (levels,) = query(fleet.devices[device].folder / "state" / "agent.db", "SELECT levels FROM masked")[0]
    return np.frombuffer(levels, "<i2").astype(np.int64)


def check_last_sum(fleet: FleetOfProcesses, survivors: set[str] | None = None) -> set[str]:
    """The ledger's newest sum is that of the survivors' updates, and the model follows from it alone.

    Returns the survivors, as the ledger names them.
    """
    number, devices, levels = query(
        fleet.ledger, "SELECT round, devices, levels FROM masked_sums ORDER BY round DESC LIMIT 1"
    )[0]
    found = set(json.loads(devices))
    assert survivors is None or found == survivors
    expected = sum(promised(fleet, device) for device in found)
    assert (np.frombuffer(levels, "<i8") == expected).all()
    assert np.abs(expected).max() > 0, "an update that changes nothing proves nothing"
    assert replay(fleet.ledger, number, seed=SEED).same
    assert query(fleet.ledger, "SELECT count(*) FROM masking") == [(0,)]
    left = "SELECT count(*) FROM frames WHERE digest NOT IN (SELECT digest FROM answers)"
    assert query(fleet.ledger, left) == [(0,)], "masked updates are freed with the sum"
    return found


def lost_at(fleet: FleetOfProcesses, point: str, *names: str) -> None:
    """Start devices that die at this point for good."""
    for name in names:
        fleet.prefixes[name] = ("env", f"FEDGE_FAILPOINT={point}")
        fleet.start_devices(name)
        fleet.prefixes.pop(name)


def buried(fleet: FleetOfProcesses, *names: str) -> None:
    """Wait until these have been killed by their failpoints, in any order."""
    programs = [fleet.programs.pop(name) for name in names]
    fleet.until(lambda: all(each.exit_code is not None for each in programs), f"{', '.join(names)} die")
    assert [each.exit_code for each in programs] == [-SIGKILL] * len(names)


def loses_one(fleet: FleetOfProcesses, point: str) -> None:
    """Let four devices learn, of which the first dies at this point for good."""
    lost_at(fleet, point, "device-0")
    fleet.start_devices("device-1", "device-2", "device-3")
    fleet.start_aggregator("--exit-when-done")
    buried(fleet, "device-0")
    assert fleet.ends() == 0
