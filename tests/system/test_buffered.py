"""Rounds that wait for nobody, in a fleet of real processes over a real broker."""

from pathlib import Path

import pytest

from fleet.demo.broker import Broker
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_algorithms import all_replayed

pytestmark = pytest.mark.system

VERSIONS = 7


def began(fleet: FleetOfProcesses, number: int) -> dict[str, int | None]:
    """For which older round each update that counts in a round was made."""
    rows = query(
        fleet.ledger,
        "SELECT device, began FROM answers WHERE (generation, round) = (1, ?) AND verdict = 'admitted'",
        number,
    )
    return dict(rows)


def test_a_slow_device_counts_in_a_later_version_across_a_power_cut(tmp_path: Path, broker: Broker) -> None:
    """A buffer takes two of three. device-2 trains on version 1 while the others make versions 1 to 3, and
    device-0 on version 4 while the others fill that. device-1 is held in version 5, which device-0 fills.

    Reading 1 is the survey, so reading n + 1 is for version n.
    """
    with FleetOfProcesses(tmp_path / "fleet", broker) as fleet:
        fleet.configure(
            federation={"seed": 7},
            model=CLASSIFIER,
            plan={"epochs": 3, "batch_size": 8, "learning_rate": 0.05},
            rounds={"schedule": "buffered", "target": 2, "quorum": 2, "deadline_s": 300.0},
            stopping={"rounds": VERSIONS},
        )
        for number in range(3):
            fleet.device(f"device-{number}", *motions(number))
        slow, other, last = (fleet.devices[f"device-{number}"] for number in (2, 0, 1))
        slow.hold(2)
        other.hold(5)
        last.hold(6)
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        fleet.until(lambda: fleet.admitted(4) == {"device-1"}, "version 4 waits for one update more")
        fleet.kill("aggregator")
        fleet.start_aggregator("--exit-when-done")
        assert fleet.admitted(4) == {"device-1"}
        slow.release()
        fleet.until(lambda: len(fleet.admitted(4)) == 2, "the slow device fills the buffer")
        other.release()
        fleet.until(lambda: len(fleet.admitted(5)) == 2, "the other late one fills the next")
        last.release()
        assert fleet.ends() == 0, fleet.log()
        assert [began(fleet, number) for number in (1, 2, 3)] == [{"device-0": None, "device-1": None}] * 3
        assert began(fleet, 4) == {"device-1": None, "device-2": 1}
        fifth = began(fleet, 5)
        assert fifth.keys() == {"device-0", "device-2"}
        assert fifth["device-0"] == 4
        assert fifth["device-2"] in (4, None), "it began with the version that it had heard of last"
        all_replayed(fleet, VERSIONS)
