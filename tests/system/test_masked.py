"""Secure aggregation with real processes, certificates and Mosquitto."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.masked_fleet import check_last_sum, masked
from tests.system.production import Production, needs_mosquitto

pytestmark = [pytest.mark.system, needs_mosquitto]


@pytest.fixture
def secure(greenhouse: Production, tmp_path: Path) -> Iterator[FleetOfProcesses]:
    with FleetOfProcesses(tmp_path / "fleet", greenhouse.broker, greenhouse) as fleet:
        yield fleet


def test_a_masked_fleet_learns_and_the_ledger_holds_sums_alone(secure: FleetOfProcesses) -> None:
    masked(secure, rounds=2)
    secure.start_aggregator("--exit-when-done")
    secure.start_devices()
    assert secure.ends() == 0
    rows = [row for row in secure.rounds() if row.kind == "masked"]
    assert [(row.closed, row.devices) for row in rows] == [(True, 4), (True, 4)]
    check_last_sum(secure, set(secure.devices))


def test_weights_are_masked_too(secure: FleetOfProcesses) -> None:
    masked(secure, devices=3, max_weight=48)
    secure.start_aggregator("--exit-when-done")
    secure.start_devices()
    assert secure.ends() == 0
    (row,) = [row for row in secure.rounds() if row.kind == "masked"]
    assert row.samples == 3 * 48, "each device has 48 rows to train on"
