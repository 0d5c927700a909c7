"""Aggregator and devices of different versions learn together, whoever is upgraded first.

`recorded/` has what lay on the disks of a version's programs, stopped in the middle of round 2 of
`federations.steady`, and the programs themselves: made by `python -m tests.system.recording`.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fleet import broker as brokers
from fleet.broker import Broker
from tests.system.audit import check_books, check_stores
from tests.system.federations import steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.signing import Keys
from tests.system.versions import DEVICES, RECORDED, TO_COME, TODAY, checked_out, reach, start

pytestmark = pytest.mark.system

FIRST = "e7b4c85"
"""Version 0.1.0 as it was before anything here was secured, installed or kept."""


VERSIONS = sorted(folder.name for folder in RECORDED.iterdir())


@contextmanager
def left_behind(version: str, folder: Path, broker: Broker) -> Iterator[FleetOfProcesses]:
    """The fleet of `federations.steady` as a version left it, in the middle of round 2."""
    left = RECORDED / version
    keys = Keys(left, "recorded") if (left / "signing.key").exists() else None
    with FleetOfProcesses(folder, broker, keys) as fleet:
        steady(fleet)
        shutil.copytree(left / "aggregator", fleet.state)
        for name, device in fleet.devices.items():
            shutil.copytree(left / name, device.folder / "state")
        yield fleet


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One kind is enough: a broker does not read what it carries."""
    with brokers.start("auto", tmp_path / "broker") as broker:
        yield broker


def finish(fleet: FleetOfProcesses, model: bytes | None = None) -> None:
    fleet.devices["device-2"].release()
    assert fleet.ends() == 0
    final = fleet.final_model()
    assert model in (final, None)
    fleet.until(lambda: all(d.held_model() == final for d in fleet.devices.values()), "all devices hold it")
    check_stores(fleet)
    assert check_books(fleet) == 4
    for name in ("aggregator", *DEVICES):
        assert not [word for word in ("Traceback", "refused", "ERROR") if word in fleet.log(name)], name


def test_a_later_version_works_with_this_one(fleet: FleetOfProcesses, undisturbed_model: bytes) -> None:
    """The aggregator first, then two devices; then it goes back, and leaves the devices ahead."""
    steady(fleet)
    fleet.devices["device-2"].hold(2)
    start(fleet, TODAY, "aggregator", *DEVICES)
    reach(fleet, 1)
    start(fleet, TO_COME, "aggregator")
    reach(fleet, 2)
    start(fleet, TO_COME, "device-0", "device-1")
    start(fleet, TODAY, "aggregator")
    reach(fleet, 3)
    finish(fleet, undisturbed_model)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.replace(".", "_"))
def test_what_an_earlier_version_left_on_disk_is_taken_up(
    broker: Broker, tmp_path: Path, version: str
) -> None:
    with left_behind(version, tmp_path / "fleet", broker) as fleet:
        before = fleet.answers(2)
        assert set(before) == {"device-0", "device-1"}
        fleet.devices["device-2"].hold(9)
        start(fleet, TODAY, "aggregator", *DEVICES)
        finish(fleet)
        assert {name: fleet.answers(2)[name] for name in before} == before  # nobody was asked again


@pytest.mark.long
@pytest.mark.parametrize("order", [("aggregator", *DEVICES), (*DEVICES, "aggregator")], ids=lambda o: o[0])
def test_the_first_version_is_upgraded_in_the_middle_of_learning(
    fleet: FleetOfProcesses, tmp_path: Path, undisturbed_model: bytes, order: tuple[str, ...]
) -> None:
    first = checked_out(FIRST, tmp_path / "first")
    if first is None:
        pytest.skip(f"this clone's history does not have {FIRST}")
    steady(fleet)
    fleet.devices["device-2"].hold(2)
    start(fleet, first, "aggregator", *DEVICES)
    reach(fleet, 1)
    start(fleet, TODAY, order[0])
    reach(fleet, 2)
    start(fleet, TODAY, order[1])
    reach(fleet, 3)
    start(fleet, TODAY, *order[2:])
    finish(fleet, undisturbed_model)
