"""Secure aggregation with real processes, certificates and Mosquitto."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.masked_fleet import buried, check_last_sum, loses_one, lost_at, masked
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


@pytest.mark.parametrize(
    ("point", "counts"),
    [
        pytest.param("Send.before:2", 3, marks=pytest.mark.slow),
        ("Send.before:3", 3),
        pytest.param("Send.before:4", 4, marks=pytest.mark.slow),
    ],
)
def test_a_device_that_is_lost_keeps_nobody_from_the_sum(
    secure: FleetOfProcesses, point: str, counts: int
) -> None:
    """t = ⌊2 · 4 / 3⌋ + 1 = 3. Who is lost after its masked update has come still counts."""
    masked(secure, phase_s=4.0)
    loses_one(secure, point)
    others = set(secure.devices) if counts == 4 else set(secure.devices) - {"device-0"}
    check_last_sum(secure, others)


def test_too_many_are_lost_and_the_next_attempt_has_new_keys(secure: FleetOfProcesses) -> None:
    """Two of four are lost before their masked updates: 2 < t. The attempt fails, and nothing is lost."""
    masked(secure, phase_s=4.0)
    lost_at(secure, "Send.before:3", "device-0", "device-1")
    secure.start_devices("device-2", "device-3")
    secure.start_aggregator("--exit-when-done")
    buried(secure, "device-0", "device-1")
    secure.until(lambda: "secure aggregation failed in its phase input" in secure.log(), "it fails")
    secure.start_devices("device-0", "device-1")
    assert secure.ends() == 0
    survivors = check_last_sum(secure)
    assert len(survivors) >= 3
    assert {"device-2", "device-3"} < survivors
    (row,) = [row for row in secure.rounds() if row.kind == "masked"]
    assert row.attempt > 0


def test_a_round_whose_survivors_were_signed_has_no_other_attempt(secure: FleetOfProcesses) -> None:
    """Two of four are lost before they reveal: the round closes with the model that it began with."""
    masked(secure, phase_s=4.0)
    lost_at(secure, "Send.before:5", "device-0", "device-1")
    secure.start_devices("device-2", "device-3")
    secure.start_aggregator("--exit-when-done")
    buried(secure, "device-0", "device-1")
    secure.until(lambda: "its model stays as it was" in secure.log(), "the round has no sum")
    secure.start_devices("device-0", "device-1")
    assert secure.ends() == 0
    rows = [row for row in secure.rounds() if row.kind == "masked"]
    assert [(row.round, row.devices, row.closed) for row in rows[:1]] == [(1, 0, True)]
    assert rows[1].devices == len(check_last_sum(secure)) >= 3
