"""A broker that takes too small packets: each program says so once, goes on trying, and then learns."""

from pathlib import Path

import pytest

from fedge.transport.packets import LEAST_PACKET
from fleet.demo import broker as brokers
from tests.system.audit import check_books
from tests.system.federations import steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.limited import Limited
from tests.wording import lines_telling

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed"),
]


@pytest.mark.parametrize("offered", [300, 2_000])
def test_what_is_offered_and_needed_is_told_once_and_with_enough_all_goes_on(
    offered: int, tmp_path: Path
) -> None:
    """With 300 bytes the broker does not even answer a CONNECT with a last will."""
    limited = Limited(tmp_path / "broker", offered)
    with limited.broker, FleetOfProcesses(tmp_path / "fleet", limited.broker) as fleet:
        steady(fleet, rounds=1)
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        everybody = ["aggregator", *fleet.devices]
        told = f"{offered:,}", f"{LEAST_PACKET:,}", "max_packet_size"
        fleet.until(lambda: all(lines_telling(fleet.log(name), *told) for name in everybody), "all say so")
        limited.limit(LEAST_PACKET)
        assert fleet.ends() == 0
        assert [row.devices for row in fleet.rounds()] == [3, 3]
        assert check_books(fleet) == 1
        for name in everybody:
            lines = lines_telling(fleet.log(name), *told)
            assert len([line for line in lines if "more times" not in line]) == 1, lines
