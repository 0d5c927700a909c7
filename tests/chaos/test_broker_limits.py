"""The broker drops what its queue cannot hold, and cuts off who sends too much or uses another's identity."""

import shutil
import time
from pathlib import Path

import pytest

from tests.chaos.broker_clients import ROUND_1, ROUND_2, connected
from tests.chaos.fleets import robust
from tests.chaos.strict_broker import StrictBroker, needs_mosquitto, strict_broker
from tests.milestones import CONNECTED
from tests.system.audit import check_books
from tests.system.databases import query
from tests.system.federations import steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.wording import lines_telling

pytestmark = [pytest.mark.system, needs_mosquitto]


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
    client = connected(strict, "observer")
    client.on_message = lambda remember, _data, message: seen.append(int(message.payload))
    client.subscribe("$SYS/broker/publish/messages/dropped")
    client.loop_start()
    deadline_s = time.monotonic() + 90
    while not (seen and seen[-1] >= 4) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    client.disconnect()
    client.loop_stop()
    return seen[-1] if seen else 0


# ── 12: a packet over the limit ────────────────────────────────────────────────────────────────────


WIDE = {
    "features": ("x", "y", "z", "light", "heat"),
    "classes": ("still", "walk", "run"),
    "layers": [{"type": "dense", "units": 2_000}, {"type": "relu"}],
}
"""18,003 weights: 72 KB."""


@pytest.mark.chaos
def test_fault_12_a_model_over_the_brokers_limit_is_cut_for_it(tmp_path: Path) -> None:
    with (
        strict_broker(max_packet_size=20_000) as strict,
        FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet,
    ):
        robust(fleet, devices=3, rounds=1, quorum=3, model=WIDE)
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        assert fleet.ends() == 0
        assert fleet.log().count(CONNECTED) == 1, "it is not cut off"
        assert [row.devices for row in fleet.rounds()] == [3, 3]
        assert check_books(fleet) == 1
        frames = {n for (n,) in query(fleet.ledger, "SELECT DISTINCT n FROM frames WHERE size > 60000")}
        assert frames == {4}, "72 KB in frames of not quite 20,000 bytes"


@pytest.mark.chaos
def test_fault_12_who_sends_too_much_is_cut_off_alone(strict: StrictBroker, tmp_path: Path) -> None:
    with FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet:
        steady(fleet, rounds=3)
        fleet.devices["device-2"].hold(ROUND_2)
        fleet.start_aggregator("--exit-when-done")
        fleet.start_devices()
        fleet.until(lambda: fleet.admitted(2) == {"device-0", "device-1"}, "round 2 lacks only who is held")
        ended: list[object] = []
        client = connected(strict, "boaster")
        client.on_disconnect = lambda *_: ended.append(1)
        client.loop_start()
        client.publish(f"fedge/v1/{fleet.name}/update/00/boaster", bytes(262_144), qos=1)
        fleet.until(lambda: bool(ended), "the broker cuts it off")
        client.loop_stop()
        fleet.devices["device-2"].release()
        assert fleet.ends() == 0
        assert [row.devices for row in fleet.rounds()] == [3] * 4
        assert fleet.log().count(CONNECTED) == 1


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
        connections = sum(fleet.log(name).count(CONNECTED) for name in ("device-00", "clone"))
        print(f"the two connected {connections} times in {seconds:.1f} s")
        assert connections <= 10 + seconds / 2, "they back off instead of pushing each other out without end"
