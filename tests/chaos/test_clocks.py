"""Wrong clocks: 1970 at boot, ten years ahead and back, a step in mid-round, a certificate from the future.

The programs run under libfaketime; the monotonic clock stays true, as on a device whose wall clock is set.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.chaos.strict_broker import needs_mosquitto, strict_broker
from tests.system.audit import check_books, check_stores
from tests.system.databases import query
from tests.system.federations import steady
from tests.system.fleet_of_processes import FleetOfProcesses

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
YEAR_S = 365 * 86_400
ROUND_2 = 3

pytestmark = [
    pytest.mark.system,
    pytest.mark.chaos,
    needs_mosquitto,
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed: apt install faketime"),
]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Broker]:
    """Without certificates: to a clock that is years off, none is valid (42)."""
    with brokers.start("mosquitto", tmp_path / "broker") as broker:
        yield broker


class Clock:
    """A wall clock that can be set while programs run by it."""

    def __init__(self, folder: Path, set_to: str) -> None:
        self._file = folder / "clock"
        self.set(set_to)

    def set(self, to: str) -> None:
        """`@1970-01-01 00:00:10`: that moment, when it is read first; `+10y`: so far ahead; `+0`: true."""
        (self._file.with_suffix(".new")).write_text(to + "\n")
        (self._file.with_suffix(".new")).replace(self._file)

    @property
    def prefix(self) -> list[str]:
        """What stands before a command that is to live by this clock."""
        return [
            "env",
            f"LD_PRELOAD={LIBRARY}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
        ]


def begin(fleet: FleetOfProcesses, clocks: dict[str, Clock]) -> None:
    """Three devices, of which the third is held in round 2; some programs have clocks of their own."""
    steady(fleet)
    fleet.devices["device-2"].hold(ROUND_2)
    fleet.prefixes = {name: clock.prefix for name, clock in clocks.items()}
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    fleet.until(lambda: fleet.admitted(2) == {"device-0", "device-1"}, "round 2 lacks only who is held")


def opened_at(fleet: FleetOfProcesses, number: int) -> float:
    """When a round began, by the aggregator's wall clock."""
    [(moment,)] = query(fleet.ledger, "SELECT opened_at FROM rounds WHERE round = ?", number)
    return float(moment)


def ends_well(fleet: FleetOfProcesses, undisturbed_model: bytes) -> None:
    fleet.devices["device-2"].release()
    assert fleet.ends() == 0
    assert [(row.devices, row.attempt) for row in fleet.rounds()] == [(3, 0)] * 5
    assert check_books(fleet) == 4
    assert fleet.final_model() == undisturbed_model, "no clock has a say in what is learnt"
    fleet.until(
        lambda: all(device.held_model() == undisturbed_model for device in fleet.devices.values()),
        "everybody holds the final model",
    )
    check_stores(fleet)


def test_fault_39_the_clock_stands_at_1970(plain: Broker, tmp_path: Path, undisturbed_model: bytes) -> None:
    with FleetOfProcesses(tmp_path / "fleet", plain) as fleet:
        boot = "@1970-01-01 00:00:10"
        begin(
            fleet,
            {"aggregator": Clock(tmp_path, boot), "device-2": Clock(fleet.folder, boot)},
        )
        said_at = fleet.log("device-2")[:8]
        assert "00:00:10" <= said_at < "00:10", "its clock is not the one it should have"
        ends_well(fleet, undisturbed_model)


def test_fault_40_a_clock_ten_years_ahead_goes_back(
    plain: Broker, tmp_path: Path, undisturbed_model: bytes
) -> None:
    with FleetOfProcesses(tmp_path / "fleet", plain) as fleet:
        clock = Clock(tmp_path, "+10y")
        begin(fleet, {"aggregator": clock, "device-0": clock, "device-2": clock})
        assert opened_at(fleet, 1) > time.time() + 9 * YEAR_S, "its clock is not the one it should have"
        clock.set("+0")
        for name in ("aggregator", "device-0"):  # and what it wrote then is in the future of its next life
            fleet.kill(name)
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices("device-0")
        ends_well(fleet, undisturbed_model)


def test_fault_41_a_clock_steps_in_mid_round(plain: Broker, tmp_path: Path, undisturbed_model: bytes) -> None:
    """A round of 300 s is not over because a year has passed (nor endless when it goes back: 40)."""
    with FleetOfProcesses(tmp_path / "fleet", plain) as fleet:
        clock = Clock(tmp_path, "+0")
        begin(fleet, {"aggregator": clock, "device-1": clock, "device-2": clock})
        clock.set(f"+{YEAR_S}")
        ends_well(fleet, undisturbed_model)
        assert abs(opened_at(fleet, 3) - opened_at(fleet, 2)) > 0.9 * YEAR_S, "no clock has stepped"


def test_fault_42_a_certificate_not_yet_valid_is_tried_again(tmp_path: Path) -> None:
    """At a device's boot its clock is older than the broker's certificate; then the time is set."""
    with (
        strict_broker() as strict,
        FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet,
    ):
        steady(fleet)
        clock = Clock(tmp_path, "@1970-01-01 00:00:10")
        device = fleet.devices["device-2"]
        fleet.prefixes = {"device-2": clock.prefix}
        fleet.start_devices("device-2")
        fleet.until(
            lambda: fleet.log("device-2").count("is not yet valid") >= 2,
            "it says what is wrong, and tries again",
        )
        clock.set("+0")
        fleet.until_connected("device-2")
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices("device-0", "device-1")
        assert fleet.ends() == 0
        assert {row.devices for row in fleet.rounds()} == {3}
        final = fleet.final_model()
        fleet.until(lambda: device.held_model() == final, "it holds the final model")
