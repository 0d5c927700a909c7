"""The fleet remembers what its aggregator forgot; a new generation is how both go on."""

import os
import shutil
from typing import Any

import pytest

from tests.system.audit import check_books, check_stores
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.wording import assert_tells

pytestmark = [pytest.mark.system, pytest.mark.chaos]  # chaos: for the time it takes


def tables(rounds: int, **model: Any) -> dict[str, Any]:
    return {
        "model": {**CLASSIFIER, **model},
        "plan": {"epochs": 1},
        "rounds": {"quorum": 2, "target": 2, "deadline_s": 300.0},
        "stopping": {"rounds": rounds},
    }


def learn(fleet: FleetOfProcesses, *options: str) -> bytes:
    """Learn to the end; returns the digest of the model that all devices then hold."""
    fleet.start_aggregator("--exit-when-done", *options)
    assert fleet.ends() == 0, fleet.log()
    final = fleet.final_model()
    fleet.until(
        lambda: all(device.held_model() == final for device in fleet.devices.values()), "all devices hold it"
    )
    check_stores(fleet)
    return final


def closed(fleet: FleetOfProcesses) -> list[tuple[int, int, int]]:
    """Generation, round and devices that counted, of the newest generation's closed rounds."""
    return [(row.generation, row.round, row.devices) for row in fleet.rounds() if row.closed]


def refuses_to_start(fleet: FleetOfProcesses) -> str:
    """What the aggregator says then, in one line."""
    before = len(fleet.log())
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == os.EX_CONFIG
    (line,) = (line for line in fleet.log()[before:].splitlines() if "ERROR" in line)
    return line


def test_a_lost_or_older_ledger_and_another_model_are_noticed(fleet: FleetOfProcesses) -> None:
    for number in range(2):
        fleet.device(f"device-{number}", *motions(number))
    fleet.start_devices()
    backup, newest = fleet.folder / "backup", fleet.folder / "newest"

    fleet.configure(**tables(rounds=2))
    learn(fleet)
    shutil.copytree(fleet.state, backup)
    fleet.configure(**tables(rounds=4))  # a changed stopping rule is no reason to begin anew
    learn(fleet)
    taught = [(1, n, 2) for n in (0, 1, 2, 4, 5)]  # rounds 3 and 6 measure the model of the one before
    assert closed(fleet) == taught
    shutil.copytree(fleet.state, newest)

    shutil.rmtree(fleet.state)
    said = refuses_to_start(fleet)
    assert_tells(said, "round 1.6 ", "new", "--new-generation")

    shutil.rmtree(fleet.state)
    shutil.copytree(backup, fleet.state)
    said = refuses_to_start(fleet)
    assert_tells(said, "round 1.6 ", "1.4", "--new-generation")

    # The first way on: the newest copy has learnt all there was to learn, and serves again.
    shutil.rmtree(fleet.state)
    shutil.copytree(newest, fleet.state)
    learn(fleet)
    assert closed(fleet) == taught

    # The second: the old copy begins anew, and the devices follow by themselves.
    shutil.rmtree(fleet.state)
    shutil.copytree(backup, fleet.state)
    learn(fleet, "--new-generation")
    assert closed(fleet) == [(2, n, 2) for n in range(5)]
    assert check_books(fleet) == 4

    fleet.configure(**tables(rounds=2, layers=[{"type": "dense", "units": 7}, {"type": "tanh"}]))
    said = refuses_to_start(fleet)
    assert_tells(said, "[model] layers", "--new-generation")
    learn(fleet, "--new-generation")
    assert closed(fleet) == [(3, n, 2) for n in range(3)]
    assert check_books(fleet) == 2
    assert all("Traceback" not in fleet.log(name) for name in ("aggregator", *fleet.devices))
