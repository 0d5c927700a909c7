"""A device whose owner does not allow it declines, no round waits for it, and it joins when it may."""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from agent.shell.measured_conditions import ROOT_VARIABLE, SYNCHRONISED_US, kernel_clock_error_us
from fedge.wire.reasons import Reason
from tests.system.audit import check_books
from tests.system.databases import query
from tests.system.devices import Device
from tests.system.federations import CLASSIFIER, FEATURES, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.wording import assert_tells, lines_telling

pytestmark = pytest.mark.system

STEADY = ("steady-0", "steady-1")
HELD = 2
"""The round that is kept open until everybody has said what there is to say."""


def hours(begin_h: int, end_h: int) -> str:
    """Hours of the day, so many hours from now."""
    now_s = time.time()
    return "-".join(time.strftime("%H:%M", time.localtime(now_s + 3_600 * h)) for h in (begin_h, end_h))


class Owners:
    """What the owners say, and the machines that they are said of: /sys, /proc and /run in a folder each."""

    def __init__(self, fleet: FleetOfProcesses, folder: Path) -> None:
        self.fleet = fleet
        self._folder = folder
        self._said: dict[str, str] = {}

    def add(self, name: str, tables: str, machine: Mapping[str, str] = {}) -> Device:
        device = self.fleet.device(name, *motions(len(self.fleet.devices)))
        self._said[name] = device.config.read_text()
        self.say(name, tables)
        self.fleet.prefixes[name] = ["env", f"{ROOT_VARIABLE}={self._folder / name}"]
        self.change(name, {"proc/loadavg": "0.01 0.01 0.01 1/1 1", **machine})
        return device

    def say(self, name: str, tables: str) -> None:
        self.fleet.devices[name].config.write_text(f"{self._said[name]}\n{tables}\n")

    def change(self, name: str, machine: Mapping[str, str]) -> None:
        for file, text in machine.items():
            path = self._folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".new").write_text(text)
            path.with_suffix(".new").replace(path)


@pytest.fixture
def owners(fleet: FleetOfProcesses, tmp_path: Path) -> Owners:
    return Owners(fleet, tmp_path / "machines")


def battery(status: str) -> dict[str, str]:
    folder = "sys/class/power_supply/BAT0"
    return {f"{folder}/type": "Battery", f"{folder}/status": status}


def temperature(degrees: int) -> dict[str, str]:
    folder = "sys/class/thermal/thermal_zone0"
    return {f"{folder}/type": "cpu-thermal", f"{folder}/temp": f"{degrees}000"}


SYNCHRONISED = {"run/systemd/timesync/synchronized": ""}
unsynchronised = (kernel_clock_error_us() or SYNCHRONISED_US) >= SYNCHRONISED_US
"""Whether this machine's own clock is not: else its kernel says so to every device here."""


@pytest.mark.slow
def test_devices_decline_by_each_of_their_owners_conditions_and_join_when_they_may(owners: Owners) -> None:
    fleet = owners.fleet
    fleet.configure(
        model={**CLASSIFIER, "layers": [{"type": "dense", "units": 200}]},  # 7 KB: more than the survey
        plan={"epochs": 2},
        rounds={"quorum": 2, "deadline_s": 3_600.0},
        stopping={"rounds": HELD + 1},
    )
    for name in STEADY:
        owners.add(name, "")
    owners.add("mains", "[conditions]\nmains = true", battery("Discharging"))
    owners.add("cool", "[conditions]\ntemperature_c = 60", temperature(75))
    owners.add("calm", "[conditions]\nload = 0.5", {"proc/loadavg": "640.0 1 1 1/1 1"})
    owners.add("night", f'[conditions]\nhours = "{hours(3, 5)}"', SYNCHRONISED)
    owners.add("thrifty", "[limits]\nbytes_per_day = 17_000")  # less than the survey and one round move
    owners.add("brief", "[limits]\nepochs = 1")
    expected = {
        "mains": Reason.ON_BATTERY,
        "cool": Reason.TOO_HOT,
        "calm": Reason.TOO_BUSY,
        "night": Reason.OUTSIDE_HOURS,
        "thrifty": Reason.OVER_BYTE_BUDGET,
        "brief": Reason.TOO_MANY_EPOCHS,
    }
    if unsynchronised:
        owners.add("clockless", f'[conditions]\nhours = "{hours(-2, 2)}"')
        expected["clockless"] = Reason.CLOCK_NOT_SYNCHRONISED
    fleet.devices["steady-0"].hold(1 + HELD)  # its reading of the survey is the first
    fleet.start_devices()
    fleet.until_connected()
    fleet.start_aggregator("--exit-when-done")

    def declined(number: int) -> dict[str, str]:
        found = "SELECT device, declined FROM devices WHERE round = ? AND declined IS NOT NULL"
        return dict(query(fleet.ledger, found, number))

    fleet.until(lambda: declined(HELD).keys() == expected.keys(), "all of them have declined the open round")
    said = declined(HELD)
    for name, reason in expected.items():
        assert said[name].startswith(f"{reason}: "), said
    assert_tells(said["cool"], "75.0", "[conditions] temperature_c", "60")
    assert_tells(said["brief"], "2 epochs", "[limits] epochs", "1")
    # No round has waited for them: their deadline is an hour away. A survey has no epochs, and is small.
    assert [row.attempt for row in fleet.rounds()[:HELD]] == [0] * HELD
    assert fleet.admitted(0) == {*STEADY, "brief", "thrifty"}
    assert fleet.admitted(1) == set(STEADY)

    # Their owners charge, cool and rest them, and think better of some limits.
    owners.change("mains", battery("Charging"))
    owners.change("cool", temperature(45))
    owners.change("calm", {"proc/loadavg": "0.01 0.01 0.01 1/1 1"})
    if unsynchronised:
        owners.change("clockless", SYNCHRONISED)
    for name, tables in {
        "night": f'[conditions]\nhours = "{hours(-2, 2)}"',
        "thrifty": "[limits]\nbytes_per_day = 1_000_000",
        "brief": "[limits]\nepochs = 2",
    }.items():
        assert fleet.terminate(name) == 0
        owners.say(name, tables)
    ((moved,),) = query(fleet.devices["thrifty"].folder / "state/agent.db", "SELECT bytes FROM moved")
    assert moved > 500, "what was moved counts over the restart"
    fleet.start_devices("night", "thrifty", "brief")
    fleet.until(lambda: {"night", "thrifty", "brief"} <= fleet.admitted(HELD), "they join the open round")
    fleet.devices["steady-0"].release()
    assert fleet.ends() == 0
    assert fleet.admitted(HELD + 1) == set(fleet.devices), "all take part"
    assert all(row.attempt == 0 for row in fleet.rounds())
    check_books(fleet)


def test_a_federation_learns_from_the_source_that_it_names(owners: Owners) -> None:
    fleet = owners.fleet
    fleet.configure(
        model={**CLASSIFIER, "source": "heart"},
        plan={"epochs": 1},
        rounds={"quorum": 2, "deadline_s": 3_600.0},
        stopping={"rounds": 2},
    )
    heart = '[sources.heart]\nsource = "npz"\npath = "heart.npz"'
    for name, tables in {
        "heart-0": heart,
        "heart-1": heart,
        "without": "",
        "private": f'{heart}\n[limits]\nsources = ["data"]',
    }.items():
        device = owners.add(name, tables)
        X, y = motions(7, n=100)
        np.savez(device.folder / "heart.npz", X=X, y=y, features=np.array(FEATURES))
    fleet.start_devices()
    fleet.until_connected()
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0
    assert [row.devices for row in fleet.rounds()] == [2, 2, 2]
    assert {samples for _, samples, _ in fleet.answers(2).values()} == {80}, "of the 100 rows of that source"
    assert {device.reads for device in fleet.devices.values()} == {0}, "nobody's [data] was read"
    assert fleet.admitted(2) == {"heart-0", "heart-1"}
    for name, reason, *told in (
        ("without", Reason.UNKNOWN_SOURCE, "'heart'"),
        ("private", Reason.FORBIDDEN_SOURCE, "'heart'", "[limits] sources"),
    ):
        (line,) = lines_telling(fleet.log(), "round 1.0: ", name, f"({reason})", *told)
        assert " data" not in line, "what else it has is its owner's"
        assert lines_telling(fleet.log(name), "round 1.0: ", f"({reason})", *told, " data")
