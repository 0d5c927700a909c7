"""docs/operations.md, command by command: copies, other servers, new beginnings; the devices follow."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregator.backup import archive
from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.system.audit import check_books, check_ledger, check_stores
from tests.system.federations import CENTRES, CLASSES, CLASSIFIER, SPREAD, as_csv, motions, steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.operations_page import Shell, blocks, generations, weights
from tests.wording import assert_tells, lines_telling

pytestmark = pytest.mark.system

RUN = {
    "A bad model": 0,
    "Backing up": 1,
    "Restoring": 2,
    "A bad model went out": 5,
    "Going on after the end": 0,
    "Forgetting a device": 1,
    "Moving to another server": 2,
    "Resetting": 1,
    "Changing the model or the classes": 1,
    "Changing the signing key": 0,
    "Upgrading": 0,
    "A broker with limits": 0,
    "On an installed server": 5,
}
"""How many blocks of commands each part has: every one is run, below, in `test_way_back.py` and
in `test_quarantine.py`; those of the last part in `tests/deploy`."""


def test_there_is_no_other_command() -> None:
    assert {title: len(commands) for title, commands in blocks().items()} == RUN


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """One kind is enough here: brokers differ in what they keep, and what is kept here is not theirs."""
    with brokers.start("auto", tmp_path / "broker") as broker:
        yield broker


def hold_in(fleet: FleetOfProcesses, number: int) -> None:
    """Wait until a training round lacks nothing but device-2, which is held in it."""
    fleet.until(lambda: fleet.admitted(number) == {"device-0", "device-1"}, f"round {number} waits")


def all_hold(fleet: FleetOfProcesses) -> None:
    final = fleet.final_model()
    fleet.until(lambda: all(d.held_model() == final for d in fleet.devices.values()), "all devices hold it")


@pytest.mark.slow
def test_a_restored_round_goes_on_here_and_on_another_server(
    fleet: FleetOfProcesses, broker: Broker, shell: Shell, tmp_path: Path, undisturbed_model: bytes
) -> None:
    steady(fleet)
    held = fleet.devices["device-2"]
    held.hold(3)  # the survey, round 1, and here it waits
    fleet.start_aggregator()
    fleet.start_devices()
    hold_in(fleet, 2)
    assert "round 1.2" in shell.tell("Backing up")

    fleet.kill("aggregator")
    shutil.rmtree(fleet.state)
    shell.tell("Restoring")
    assert fleet.admitted(2) == {"device-0", "device-1"}
    fleet.start_aggregator()
    held.hold(4)
    hold_in(fleet, 3)

    assert fleet.terminate("aggregator") == 0
    shell.tell("Moving to another server", 0)
    fleet.terminate("device-1")  # one is away while the others lose their broker
    broker.kill()
    for file in (tmp_path / "broker").glob("mosquitto.db*"):
        file.unlink()  # another machine has none of this, and the name of the first
    fleet.state.rename(fleet.folder / "the old server")
    shutil.rmtree(fleet.export)
    broker.restart()
    said = shell.tell("Moving to another server", 1)
    assert "round 1.3" in said
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices("device-1")
    held.release()
    assert fleet.ends() == 0
    assert fleet.final_model() == undisturbed_model
    assert (fleet.export / "model.onnx").exists()
    all_hold(fleet)
    check_stores(fleet)
    assert check_books(fleet) == 4
    assert all("Traceback" not in fleet.log(name) for name in ("aggregator", *fleet.devices))


@pytest.mark.slow
def test_backups_are_of_one_moment_each_and_an_old_one_goes_on_in_a_new_generation(
    fleet: FleetOfProcesses, shell: Shell
) -> None:
    steady(fleet, rounds=30)
    held = fleet.devices["device-2"]
    held.hold(3)  # the survey, round 1, and here it waits: the first backup knows less than comes of it
    fleet.start_aggregator("--exit-when-done")
    fleet.start_devices()
    hold_in(fleet, 2)
    shell.tell("Backing up")
    backups = [shutil.copy(fleet.folder / "greenhouse.backup", fleet.folder / "0.backup")]
    held.release()
    while fleet.programs["aggregator"].exit_code is None:  # in the middle of whatever comes
        shell.tell("Backing up")
        backups.append(
            shutil.copy(fleet.folder / "greenhouse.backup", fleet.folder / f"{len(backups)}.backup")
        )
    assert fleet.ends() == 0
    for number, backup in enumerate(backups):
        copy = fleet.folder / f"copy-{number}"
        copy.mkdir()
        archive.extract(backup, copy / "ledger.db")
        assert check_ledger(copy / "ledger.db") > 0

    # The first of them in the place of a ledger that knows more: only if that is what is wanted.
    shutil.copy(backups[0], fleet.folder / "greenhouse.backup")
    code, said = shell.type(blocks()["Restoring"][0])
    assert code == os.EX_CONFIG
    assert_tells(said, "1.32", "1.2", "--force")
    code, said = shell.type(blocks()["Restoring"][0].strip() + " --force")
    assert (code, "ledger.db.quarantine-1" in said) == (0, True), said

    fleet.start_aggregator()
    assert fleet.ends() == os.EX_CONFIG
    assert "`fedge-aggregator new-generation --keep-model`" in fleet.log()
    kept = max(number for _, number in generations(fleet))
    before = weights(fleet, 1, kept)
    shell.tell("Restoring", 1)
    assert weights(fleet, 2, 0) == before
    steady_again = {"quorum": 3, "target": 3, "deadline_s": 300.0}
    fleet.configure(federation={"seed": 7}, model=CLASSIFIER, rounds=steady_again, stopping={"rounds": 3})
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0, fleet.log()
    assert {(g, n) for g, n in generations(fleet) if g == 2} == {(2, n) for n in range(5)}
    all_hold(fleet)
    check_stores(fleet)
    assert check_books(fleet) == 3


@pytest.mark.slow
def test_after_a_reset_and_after_a_change_of_the_classes_the_devices_follow(
    fleet: FleetOfProcesses, shell: Shell
) -> None:
    steady(fleet, rounds=2)
    fleet.start_aggregator()
    fleet.start_devices()
    fleet.until(lambda: (1, 2) in generations(fleet), "it is learnt")
    said = shell.tell("Resetting")
    assert_tells(said, "2.0")
    fleet.until(lambda: (2, 2) in generations(fleet), "it is learnt again")
    all_hold(fleet)

    tables: dict[str, Any] = {
        "model": {**CLASSIFIER, "classes": ("jump", *CLASSES)},
        "plan": {"epochs": 10, "batch_size": 8, "learning_rate": 0.05, "momentum": 0.5},
        "rounds": {"quorum": 3, "target": 3, "deadline_s": 300.0},
        "stopping": {"rounds": 8},
    }
    fleet.configure(**tables)
    assert fleet.terminate("aggregator") == 0
    fleet.start_aggregator()
    assert fleet.ends() == os.EX_CONFIG
    assert lines_telling(fleet.log(), "[model] classes")
    said = shell.tell("Changing the model or the classes")
    assert "jump, still, walk, run" in said
    assert_tells(said, "3.0")
    for number, device in enumerate(fleet.devices.values()):
        X, y = motions(number)
        highs = CENTRES[2] + [20, 20, 20, 0, 0] + np.random.default_rng(number).normal(size=(60, 5)) * SPREAD
        order = np.random.default_rng(9).permutation(120)
        X, y = np.vstack([X, highs])[order], np.concatenate([y, np.full(60, "jump")])[order]
        np.savez(device.folder / "new.npz", X=X, y=y)
        (device.folder / "new.npz").replace(device.folder / "samples.npz")
    fleet.start_aggregator("--exit-when-done")
    assert fleet.ends() == 0, fleet.log()
    all_hold(fleet)
    asked = fleet.folder / "asked.csv"
    asked.write_text(as_csv(highs[:5], np.full(5, "jump")))
    for device in fleet.devices.values():
        found = fleet.predict(device, asked)
        assert (found["generation"], {row["class"] for row in found["predictions"]}) == (3, {"jump"})
    assert all("Traceback" not in fleet.log(name) for name in ("aggregator", *fleet.devices))
