"""A device whose owner requires masks sends nothing in an open round, says so, and holds nobody up."""

import pytest

from fedge.wire.reasons import Reason
from tests.system.audit import check_books
from tests.system.federations import motions, steady
from tests.system.fleet_of_processes import FleetOfProcesses

pytestmark = pytest.mark.system


def test_a_device_that_requires_masks_never_sends_an_update_in_an_open_round(fleet: FleetOfProcesses) -> None:
    steady(fleet)
    careful = fleet.device("careful", *motions(3))
    careful.config.write_text(careful.config.read_text() + '\n[trust]\nrequire = ["masked"]\n')
    fleet.start_devices("careful")
    fleet.until_connected("careful")
    fleet.start_devices("device-0", "device-1", "device-2")
    fleet.devices["device-0"].hold(3)  # round 2 stays open
    fleet.start_aggregator("--exit-when-done")
    fleet.until(lambda: fleet.devices["device-0"].reads == 3, "round 2 is open")
    fleet.until(lambda: fleet.declined("careful") is not None, "its status says why it takes no part")
    declined = fleet.declined("careful")
    assert declined is not None
    assert declined.reason == Reason.UNPROTECTED
    assert all(fleet.declined(f"device-{number}") is None for number in range(3))
    fleet.devices["device-0"].release()
    assert fleet.ends() == 0
    assert [(row.kind, row.closed, row.devices) for row in fleet.rounds()] == [
        ("survey", True, 3),
        *[("train", True, 3)] * 4,
    ]
    assert check_books(fleet) == 4
    assert careful.reads == 0, "it has not even read its rows"
    assert careful.saved() is None
    assert all("careful" not in fleet.answers(number) for number in range(5))
    said = fleet.log("careful")
    assert f"declined ({Reason.UNPROTECTED})" in said
    assert "no masks, which [trust] requires" in said
