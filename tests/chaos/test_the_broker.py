"""The broker dies, comes back with a damaged memory, drops what it cannot hold, refuses what is too big."""

import os
import random
import shutil
import statistics
import time
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from tests.chaos.fleets import closed, robust
from tests.chaos.strict_broker import StrictBroker, needs_mosquitto, strict_broker
from tests.system.audit import check_books, check_stores
from tests.system.federations import steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.wording import assert_tells, lines_telling

pytestmark = [pytest.mark.system, needs_mosquitto]

SHORT_LIFE_S = 3.0
"""Of an aggregator that keeps dying, from when it looks on: less than it waits for another one."""
ROUND_1, ROUND_2 = 2, 3
"""Which reading of its data a device does in which round; the first is the survey's."""


# ── killed, many times ─────────────────────────────────────────────────────────────────────────────


def killed(folder: Path, times: int, devices: int) -> list[float]:
    """1, 2: SIGKILL in the middle of a round; how long two rounds then took, in seconds, sorted."""
    drawn, took_s = random.Random(times), []
    with strict_broker() as strict, FleetOfProcesses(folder, strict.broker, strict.access) as fleet:
        # Who is slow to come back is waited for that long, in each of the two rounds.
        robust(fleet, devices, rounds=100_000, deadline_s=8)
        fleet.start_devices()
        fleet.start_aggregator()
        fleet.until(lambda: closed(fleet) >= 1, "the first round is closed")
        for _ in range(times):
            time.sleep(drawn.uniform(0.1, 0.6))
            fleet.broker.kill()
            time.sleep(drawn.uniform(0.0, 0.5))
            before = closed(fleet)  # while nobody can close another
            fleet.broker.restart()
            began_s = time.monotonic()
            # One may be closing from what was admitted before; the one after it needs the devices.
            fleet.until(lambda before=before: closed(fleet) >= before + 2, "two rounds are closed")
            took_s.append(time.monotonic() - began_s)
        check_stores(fleet)
        assert check_books(fleet) > 0
    shown = sorted(took_s)
    print(
        f"killed {times} times: two rounds after {shown[0]:.1f} to {shown[-1]:.1f} s, "
        f"median {statistics.median(shown):.1f} s, 90 % within {shown[int(times * 0.9) - 1]:.1f} s"
    )
    return shown


@pytest.mark.chaos
def test_fault_01_the_broker_is_killed_five_times(tmp_path: Path) -> None:
    # Not the longest: of many deaths in a row each doubles the pauses, and a busy machine adds to them.
    assert statistics.median(killed(tmp_path / "fleet", times=5, devices=10)) <= 30


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fault_01_the_broker_is_killed_a_hundred_times(tmp_path: Path) -> None:
    assert killed(tmp_path / "fleet", times=100, devices=20)[-1] <= 30


@pytest.mark.chaos
def test_fault_33_an_aggregator_that_keeps_dying_waits_only_once_for_what_it_said_itself(
    strict: StrictBroker, tmp_path: Path
) -> None:
    """The broker died with it and said no will: its own "online" from before lies there."""
    with FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet:
        robust(fleet, devices=3, rounds=100_000, quorum=3)
        fleet.start_devices()
        fleet.start_aggregator()
        presence = f"{fleet.name}/service".encode()
        fleet.until(
            # Once as what its session subscribes to, once as the topic of the message.
            lambda: strict.database.exists() and strict.database.read_bytes().count(presence) >= 2,
            "the broker has saved that it is online",
        )
        fleet.broker.kill()
        fleet.kill("aggregator")
        fleet.broker.restart()
        watching = "another aggregator says it is online"
        served, lives = fleet.log().count("connected to"), 0
        while fleet.log().count("connected to") == served:
            if "aggregator" in fleet.programs:
                fleet.kill("aggregator")
            lives += 1
            assert lives <= 8, "it begins its watch anew each time"
            looked_on = fleet.log().count(watching)
            fleet.start_aggregator()
            fleet.until(  # or what was said has aged away meanwhile, and nobody is watched any more
                lambda looked_on=looked_on: (
                    fleet.log().count(watching) > looked_on or fleet.log().count("connected to") > served
                ),
                "it looks on",
            )
            end_s = time.monotonic() + SHORT_LIFE_S
            while time.monotonic() < end_s and fleet.log().count("connected to") == served:
                time.sleep(0.05)
        print(f"it served in its life {lives} of {SHORT_LIFE_S} s")
        assert lives > 1, "it did not have to wait: this shows nothing"
        before = closed(fleet)
        fleet.until(lambda: closed(fleet) > before, "rounds go on")


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
    _client(strict, retain=True)
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
    _client(strict, retain=True)
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
    _client(strict, retain=True)
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
    _client(strict, retain=True)
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


# ── 11: the queue overflows ────────────────────────────────────────────────────────────────────────


@pytest.mark.chaos
def test_fault_11_what_a_full_queue_drops_is_said_again(tmp_path: Path) -> None:
    with (
        strict_broker(max_inflight_messages=1, max_queued_messages=1, sys_interval=1) as strict,
        FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet,
    ):
        robust(fleet, devices=6, rounds=1, quorum=6, deadline_s=300)
        for device in fleet.devices.values():
            device.hold(ROUND_1)
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        fleet.until(
            lambda: all(device.reads == ROUND_1 for device in fleet.devices.values()), "all are at work"
        )
        fleet.pause("aggregator")
        for device in fleet.devices.values():
            device.release()
        fleet.until(
            lambda: all((device.saved() or ())[1:2] == (1,) for device in fleet.devices.values()),
            "all have saved their updates",
        )
        dropped = _dropped(strict)
        print(f"the broker dropped {dropped} messages")
        assert dropped >= 6 - 2, "the broker had room for all of them: this shows nothing"
        fleet.resume("aggregator")
        assert fleet.ends() == 0
        assert [row.devices for row in fleet.rounds()] == [6, 6]
        assert check_books(fleet) == 1


def _dropped(strict: StrictBroker) -> int:
    """What the broker says it dropped, once it no longer changes."""
    seen: list[int] = []
    client = _connected(strict, "observer")
    client.on_message = lambda _client, _data, message: seen.append(int(message.payload))
    client.subscribe("$SYS/broker/publish/messages/dropped")
    client.loop_start()
    deadline_s = time.monotonic() + 90
    while not (seen and seen[-1] >= 4) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    client.disconnect()
    client.loop_stop()
    return seen[-1] if seen else 0


# ── 12: a packet over the limit ────────────────────────────────────────────────────────────────────


@pytest.mark.chaos
def test_fault_12_a_model_over_the_brokers_limit_is_told_and_sent_once_it_is_raised(tmp_path: Path) -> None:
    wide = {
        "features": ("x", "y", "z", "light", "heat"),
        "classes": ("still", "walk", "run"),
        "layers": [{"type": "dense", "units": 2_000}, {"type": "relu"}],
    }
    with (
        strict_broker(max_packet_size=20_000) as strict,
        FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet,
    ):
        robust(fleet, devices=3, rounds=1, quorum=3, model=wide)
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: bool(lines_telling(fleet.log(), "20000")), "the aggregator says so")
        assert fleet.log().count("connected to") == 1, "it is not cut off, nor does it try again and again"

        strict.rewrite(max_packet_size=262_144)
        fleet.broker.restart()
        assert fleet.ends() == 0
        assert [row.devices for row in fleet.rounds()] == [3, 3]
        assert check_books(fleet) == 1


@pytest.mark.chaos
def test_fault_12_who_sends_too_much_is_cut_off_alone(strict: StrictBroker, tmp_path: Path) -> None:
    with FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet:
        steady(fleet, rounds=3)
        fleet.devices["device-2"].hold(ROUND_2)
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        fleet.until(lambda: fleet.admitted(2) == {"device-0", "device-1"}, "round 2 lacks only who is held")
        ended: list[object] = []
        client = _connected(strict, "boaster")
        client.on_disconnect = lambda *_: ended.append(1)
        client.loop_start()
        client.publish(f"fedge/v1/{fleet.name}/update/00/boaster", bytes(262_144), qos=1)
        fleet.until(lambda: bool(ended), "the broker cuts it off")
        client.loop_stop()
        fleet.devices["device-2"].release()
        assert fleet.ends() == 0
        assert [row.devices for row in fleet.rounds()] == [3] * 4
        assert fleet.log().count("connected to") == 1


# ── 10: two devices of one identity ────────────────────────────────────────────────────────────────


@pytest.mark.chaos
def test_fault_10_a_cloned_device_is_told_and_the_others_go_on(strict: StrictBroker, tmp_path: Path) -> None:
    with FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet:
        robust(fleet, devices=4, rounds=3, quorum=3, deadline_s=10)
        for name in ("device-00", "device-01"):
            fleet.devices[name].hold(ROUND_1)
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: fleet.admitted(1) == {"device-02", "device-03"}, "round 1 lacks who is held")

        original = fleet.devices["device-00"]
        fleet.until(
            lambda: original.reads == ROUND_1, "it is at work"
        )  # and writes nothing: it can be copied
        clone = tmp_path / "fleet" / "cloned"
        shutil.copytree(original.folder, clone)
        fleet.devices["clone"] = type(original)("clone", clone)
        began_s = time.monotonic()
        fleet.start_devices("clone")
        fleet.until(
            lambda: bool(lines_telling(fleet.log("device-00") + fleet.log("clone"), "'device-00'")),
            "somebody says so",
        )

        for name in ("device-00", "device-01", "clone"):
            fleet.devices[name].release()
        assert fleet.ends() == 0
        seconds = time.monotonic() - began_s
        assert [row.devices >= 3 for row in fleet.rounds()] == [True] * 4
        assert check_books(fleet) == 3
        connections = sum(fleet.log(name).count("connected to") for name in ("device-00", "clone"))
        print(f"the two connected {connections} times in {seconds:.1f} s")
        assert connections <= 10 + seconds / 2, "they back off instead of pushing each other out without end"


# ── a client of the tests' own ─────────────────────────────────────────────────────────────────────


def _connected(strict: StrictBroker, member: str) -> mqtt.Client:
    client = strict.access.client(member)
    client.connect("127.0.0.1", strict.port)
    return client


def _client(strict: StrictBroker, *, retain: bool) -> None:
    """Let the broker have something to remember."""
    client = _connected(strict, "aggregator")
    client.loop_start()
    client.publish("fedge/v1/strict/round", b"x" * 200, qos=1, retain=retain).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
