"""Cases 35 to 37 and 50: the disk is full, fails, or is read-only.

Learning stops where it must, nothing breaks, and it goes on by itself when there is room again. The disks are
small file systems in memory, which only root may mount; what fails is real.
"""

import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.test_damaged_state import settle
from tests.system.audit import check_books, check_stores
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.test_accidents import ROUND_2, ends_as_if_nothing_had_happened, in_mid_round
from tests.wording import lines_telling

pytestmark = [pytest.mark.system, pytest.mark.chaos]  # chaos: for the time it takes


class Disk:
    """A file system of 8 MB."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._mount("-t", "tmpfs", "-o", "size=8m", "none")

    def _mount(self, *options: str) -> None:
        subprocess.run(["mount", *options, str(self.folder)], check=True, capture_output=True)

    def holds(self, *folders: Path) -> None:
        """Let folders that are not there yet lie on this disk."""
        for number, folder in enumerate(folders):
            place = self.folder / f"{number}-{folder.name}"
            place.mkdir(exist_ok=True)
            folder.symlink_to(place)

    def fill(self) -> None:
        with (self.folder / "filler").open("wb", buffering=0) as filler:
            for size in (65_536, 4_096, 512, 1):
                try:
                    while filler.write(bytes(size)):
                        pass
                except OSError:
                    pass

    def free(self) -> None:
        (self.folder / "filler").unlink()

    def write_protect(self, *, on: bool) -> None:
        self._mount("-o", f"remount,{'ro' if on else 'rw'}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    try:
        disk = Disk(tmp_path / "disk")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("only root may mount a small file system")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk.folder)], check=True)


def learning_with_patience(fleet: FleetOfProcesses, deadline_s: float) -> None:
    """Let the running fleet's next aggregator wait no longer than this for a device that declines."""
    file = fleet.folder / "federation.toml"
    file.write_text(file.read_text().replace("deadline_s = 300.0", f"deadline_s = {deadline_s}"))


def test_fault_35_a_devices_disk_is_full(
    fleet: FleetOfProcesses, disk: Disk, undisturbed_model: bytes
) -> None:
    # Its folder comes into being in `in_mid_round`, so that the disk is put under its state from there.
    in_mid_round(fleet, "device-2")
    device = fleet.devices["device-2"]
    fleet.kill("device-2")
    fleet.kill("aggregator")
    state = device.folder / "state"
    settle(state / "agent.db")
    state.rename(device.folder / "before")
    disk.holds(state)
    subprocess.run(["cp", "-r", f"{device.folder / 'before'}/.", str(state)], check=True)
    learning_with_patience(fleet, 3.0)
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices("device-2")
    fleet.until(lambda: device.reads == ROUND_2 + 1, "it is at work")

    disk.fill()
    device.release()
    fleet.until(lambda: bool(lines_telling(fleet.log("device-2"), "full")), "it cannot save its update")
    fleet.until(lambda: fleet.rounds()[-1].attempt >= 1, "the round is tried again without it")
    assert (device.saved() or ())[1:2] != (2,), "what is not saved is not said"
    assert fleet.admitted(2) == {"device-0", "device-1"}

    disk.free()
    assert fleet.ends() == 0
    assert fleet.final_model() == undisturbed_model
    assert check_books(fleet) == 4
    fleet.until(lambda: device.held_model() == undisturbed_model, "it holds the final model")
    check_stores(fleet)


def test_fault_35_the_aggregators_disk_is_full(
    fleet: FleetOfProcesses, disk: Disk, undisturbed_model: bytes
) -> None:
    disk.holds(fleet.state, fleet.export)
    in_mid_round(fleet, "device-2")
    before = fleet.answers(2)
    disk.fill()
    device = fleet.devices["device-2"]
    device.release()
    fleet.until(lambda: (device.saved() or ())[1:2] == (2,), "the missing update is made")
    fleet.until(lambda: bool(lines_telling(fleet.log(), "ledger.db: ", "full")), "it says so")
    assert fleet.answers(2) == before
    assert (device.saved() or ())[3:] == (None,), "nobody is told what could be forgotten"
    disk.free()
    ends_as_if_nothing_had_happened(fleet, undisturbed_model)


def test_fault_36_37_writing_fails_for_a_while_and_the_disk_comes_up_read_only(
    fleet: FleetOfProcesses, disk: Disk, undisturbed_model: bytes
) -> None:
    disk.holds(fleet.state, fleet.export)
    in_mid_round(fleet, "device-2")
    wal = fleet.ledger.with_name("ledger.db-wal")
    process = fleet.programs["aggregator"].process.pid
    _, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (wal.stat().st_size, hard))
    fleet.kill("device-0")  # its last will is to be kept
    fleet.until(lambda: "ledger.db: " in fleet.log(), "it says so")
    resource.prlimit(process, resource.RLIMIT_FSIZE, (hard, hard))
    fleet.until(lambda: fleet.connections() >= 2, "it is back")
    fleet.start_devices("device-0")

    fleet.kill("aggregator")
    disk.write_protect(on=True)
    fleet.start_aggregator()
    assert fleet.ends() == os.EX_IOERR
    assert lines_telling(fleet.log(), "state: ", "writ")
    assert "quarantine" not in fleet.log(), "a disk that cannot be written is no damage"
    disk.write_protect(on=False)

    fleet.start_aggregator("--exit-when-done")
    fleet.devices["device-2"].release()
    ends_as_if_nothing_had_happened(fleet, undisturbed_model)


def test_fault_50_no_room_for_the_export_or_the_logs(
    fleet: FleetOfProcesses, disk: Disk, undisturbed_model: bytes
) -> None:
    disk.holds(fleet.export)
    full = fleet.folder / "logs" / "device-0.log"
    full.symlink_to("/dev/full")
    try:
        in_mid_round(fleet, "device-2")
        disk.fill()
        fleet.devices["device-2"].release()
        ends_as_if_nothing_had_happened(fleet, undisturbed_model)
    finally:
        full.unlink()
        full.touch()  # the fleet shows its logs in the end, and that one never ends
    assert lines_telling(fleet.log(), "withheld", os.strerror(errno.ENOSPC))
    assert {file.name for file in fleet.export.iterdir()} <= {
        "model.onnx",
        "model.safetensors",
        "manifest.json",
        "newest",
    }
