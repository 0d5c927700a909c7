"""Aggregator and devices of different versions learn together, whoever is upgraded first.

`recorded/` has what lay on the disks of a version's programs, stopped in the middle of round 2 of
`federations.steady`: made by `python -m tests.system.test_upgrades COMMIT FOLDER`.
"""

import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fleet import broker as brokers
from fleet.broker import Broker
from tests.system.audit import check_books, check_stores
from tests.system.federations import steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.versions import TO_COME, TODAY, Version, checked_out

pytestmark = pytest.mark.system

FIRST = "e7b4c85"
"""Version 0.1.0 as it was before anything here was secured, installed or kept."""
DEVICES = ("device-0", "device-1", "device-2")
RECORDED = Path(__file__).parent / "recorded"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One kind is enough: a broker does not read what it carries."""
    with brokers.start("auto", tmp_path / "broker") as broker:
        yield broker


def start(fleet: FleetOfProcesses, version: Version, *names: str) -> None:
    """Start these programs, or start them again in this version."""
    for name in names:
        if name in fleet.programs:
            # 0.1.0 could be aborted when it was ended in the middle of an export.
            assert fleet.terminate(name) in (0, -signal.SIGABRT)
        if name == "aggregator":
            config = fleet.folder / "federation.toml"
            fleet.start_program(name, version.command("aggregator", config, "--exit-when-done"))
        else:
            fleet.start_program(name, version.command("agent", fleet.devices[name].config))


def reach(fleet: FleetOfProcesses, number: int) -> None:
    """Let learning go on to where a round lacks nothing but device-2, which is held in it."""
    fleet.devices["device-2"].hold(number + 1)  # the first reading is the survey's
    fleet.until(lambda: fleet.admitted(number) == {"device-0", "device-1"}, f"round {number} waits")


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


@pytest.mark.parametrize("version", sorted(folder.name for folder in RECORDED.iterdir()))
def test_what_an_earlier_version_left_on_disk_is_taken_up(fleet: FleetOfProcesses, version: str) -> None:
    steady(fleet)
    shutil.copytree(RECORDED / version / "aggregator", fleet.state)
    for name, device in fleet.devices.items():
        shutil.copytree(RECORDED / version / name, device.folder / "state")
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


def record(commit: str, target: Path) -> None:
    """Keep what the programs of a commit have on disk in the middle of round 2."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        version = checked_out(commit, folder / "source")
        assert version is not None, commit
        broker = stack.enter_context(brokers.start("auto", folder / "broker"))
        fleet = stack.enter_context(FleetOfProcesses(folder / "fleet", broker))
        steady(fleet)
        fleet.devices["device-2"].hold(3)
        start(fleet, version, "aggregator", *DEVICES)
        reach(fleet, 2)
        for name in ("aggregator", "device-0", "device-1"):
            assert fleet.terminate(name) == 0
        fleet.kill("device-2")
        (target / "aggregator").mkdir(parents=True)
        shutil.copy(fleet.ledger, target / "aggregator")
        for name, device in fleet.devices.items():
            (target / name).mkdir()
            for file in device.folder.glob("state/agent.db*[!m]"):  # the shared memory is no state
                shutil.copy(file, target / name)
            shutil.copy(device.folder / "state" / "model.held", target / name)


if __name__ == "__main__":
    record(sys.argv[1], Path(sys.argv[2]))
