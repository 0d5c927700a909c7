"""The broker's database is damaged, or cannot be written."""

import os
from pathlib import Path

import pytest

from tests.chaos.broker_clients import ROUND_2, remember
from tests.chaos.strict_broker import StrictBroker, needs_mosquitto
from tests.system.audit import check_books, check_stores
from tests.system.federations import steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.wording import assert_tells

pytestmark = [pytest.mark.system, needs_mosquitto]


# ── 4: a damaged database ──────────────────────────────────────────────────────────────────────────


def all_nul(database: Path) -> None:
    database.write_bytes(bytes(database.stat().st_size))


def wrong_header(database: Path) -> None:
    content = database.read_bytes()
    database.write_bytes(b"\xff" * 16 + content[16:])


def cut_short(database: Path) -> None:
    os.truncate(database, 21)


@pytest.mark.chaos
@pytest.mark.parametrize("damage", [all_nul, wrong_header, cut_short])
def test_fault_04_a_damaged_database_is_put_aside(strict: StrictBroker, tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    with FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet:
        steady(fleet)
        fleet.devices["device-2"].hold(ROUND_2)
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        fleet.until(lambda: fleet.admitted(2) == {"device-0", "device-1"}, "round 2 lacks only who is held")
        fleet.until(strict.database.exists, "the broker has saved")
        fleet.broker.kill()
        before = fleet.answers(2)
        damage(strict.database)

        done = strict.quarantine()

        assert done.returncode == 0, done.stderr
        (aside,) = strict.database.parent.glob("mosquitto.db.damaged-*")
        assert_tells(done.stderr, str(strict.database), aside.name)
        assert not strict.database.exists()
        assert not (strict.database.parent / "trial").exists()
        fleet.broker.restart()
        fleet.devices["device-2"].release()
        assert fleet.ends() == 0
        assert [row.devices for row in fleet.rounds()] == [3] * 5
        assert {d: a for d, a in fleet.answers(2).items() if d in before} == before
        assert check_books(fleet) == 4
        final = fleet.final_model()
        fleet.until(
            lambda: all(device.held_model() == final for device in fleet.devices.values()),
            "everybody holds the final model",
        )
        check_stores(fleet)


@pytest.mark.chaos
def test_fault_04_a_database_that_can_be_read_stays(strict: StrictBroker) -> None:
    remember(strict, retain=True)
    strict.broker.stop()
    content = strict.database.read_bytes()
    assert len(content) > 100
    done = strict.quarantine()
    assert (done.returncode, done.stderr) == (0, "")
    assert strict.database.read_bytes() == content
    strict.database.unlink()
    done = strict.quarantine()  # the very first start
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led astray")
@pytest.mark.chaos
def test_fault_04_the_quarantine_is_not_led_elsewhere_by_links(strict: StrictBroker, tmp_path: Path) -> None:
    """Mosquitto's user may write in the folder; whatever it puts there, root tells it no secret."""
    remember(strict, retain=True)
    strict.broker.stop()
    secret = tmp_path / "secret"
    secret.write_text("nobody else reads this")
    secret.chmod(0o600)
    intruder = strict.access.folder.root.parent / "intruder"
    intruder.write_text(f'#!/bin/sh\nlog=$(dirname "$2")/log\nrm "$log"\nln -s {secret} "$log"\n')
    intruder.chmod(0o755)
    content = strict.database.read_bytes()
    done = strict.quarantine(mosquitto=intruder)
    assert strict.database.name in done.stderr
    assert secret.read_text() not in done.stdout + done.stderr
    assert strict.database.read_bytes() == content


@pytest.mark.chaos
def test_fault_04_a_database_that_somebody_else_has_copied_there_is_tried(strict: StrictBroker) -> None:
    remember(strict, retain=True)
    strict.broker.stop()
    content = strict.database.read_bytes()
    strict.database.unlink()
    strict.database.write_bytes(content)
    strict.database.chmod(0o644)
    done = strict.quarantine()
    assert (done.returncode, done.stderr) == (0, "")
    assert strict.database.read_bytes() == content


@pytest.mark.chaos
def test_fault_04_without_the_quarantine_the_broker_stays_down(strict: StrictBroker) -> None:
    """Why there is the step: if this fails one day, Mosquitto has learnt to help itself."""
    remember(strict, retain=True)
    strict.broker.stop()
    all_nul(strict.database)
    with pytest.raises(Exception, match="Couldn't open database"):
        strict.broker.restart()


# ── 5: its volume cannot be written ────────────────────────────────────────────────────────────────


@pytest.mark.chaos
def test_fault_05_a_broker_that_cannot_save_says_so_and_costs_only_its_own_memory(
    strict: StrictBroker, tmp_path: Path
) -> None:
    with FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet:
        strict.database.parent.chmod(0o555)
        steady(fleet)
        fleet.devices["device-2"].hold(ROUND_2)
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        fleet.until(lambda: fleet.admitted(2) == {"device-0", "device-1"}, "round 2 lacks only who is held")
        fleet.until(lambda: "Permission denied" in strict.access.log(), "the broker says so")
        before = fleet.answers(2)
        fleet.broker.kill()
        assert not strict.database.exists()

        fleet.broker.restart()  # with no memory at all

        fleet.devices["device-2"].release()
        assert fleet.ends() == 0
        strict.database.parent.chmod(0o755)
        assert [row.devices for row in fleet.rounds()] == [3] * 5
        assert {d: a for d, a in fleet.answers(2).items() if d in before} == before
        assert check_books(fleet) == 4
        final = fleet.final_model()
        fleet.until(
            lambda: all(device.held_model() == final for device in fleet.devices.values()),
            "everybody holds the final model",
        )
        check_stores(fleet)
