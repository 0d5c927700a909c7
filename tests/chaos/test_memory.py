"""Round after round takes no more memory; what waits, waits on disk, and only the newest of it."""

import re
import time
from pathlib import Path

import numpy as np
import pytest

from tests.chaos.fleets import closed, robust
from tests.chaos.strict_broker import StrictBroker, needs_mosquitto, strict_broker
from tests.system.databases import query
from tests.system.fleet_of_processes import FleetOfProcesses

pytestmark = [pytest.mark.system, needs_mosquitto]

WAL_BYTES = 1_000 * 4_096
"""SQLite's write-ahead log begins anew after 1,000 pages."""
WATCHED = ("aggregator", "device-00")


@pytest.fixture(autouse=True)
def _own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forked program shares memory with its parent: here every program is started."""
    monkeypatch.setenv("FEDGE_TEST_FORK", "0")


def resident_bytes(pid: int) -> int:
    """What of a process lies in RAM (`VmRSS` in proc(5))."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def grows(folder: Path, rounds: int, warm_up: int) -> dict[str, float]:
    """MB that each watched program gains in 1,000 rounds, after `warm_up`: a least-squares slope."""
    with strict_broker() as strict, FleetOfProcesses(folder, strict.broker, strict.access) as fleet:
        robust(fleet, devices=3, rounds=100_000, quorum=3, keep_rounds=20)
        fleet.start_devices()
        fleet.start_aggregator()
        at: list[int] = []
        sizes: dict[str, list[int]] = {name: [] for name in WATCHED}
        while not at or at[-1] < rounds:
            assert all(program.exit_code is None for program in fleet.programs.values())
            now = closed(fleet)
            if now >= warm_up and (not at or now > at[-1]):
                at.append(now)
                for name, values in sizes.items():
                    values.append(resident_bytes(_child(fleet, name)))
            time.sleep(0.1)
        _is_bounded(fleet, strict)
        slopes = {}
        for name, values in sizes.items():
            slopes[name] = float(np.polyfit(at, np.array(values) / 1e6, 1)[0]) * 1_000
            gained = (values[-1] - values[0]) / 1e6
            print(
                f"{name}: {values[0] / 1e6:.1f} MB at round {at[0]}, "
                f"{values[-1] / 1e6:.1f} MB at round {at[-1]}: "
                f"{gained:+.2f} MB, slope {slopes[name]:+.2f} MB in 1,000 rounds"
            )
        return slopes


def _child(fleet: FleetOfProcesses, name: str) -> int:
    """The process itself: what stands before its command has become it by exec."""
    return fleet.programs[name].process.pid


def _is_bounded(fleet: FleetOfProcesses, strict: StrictBroker) -> None:
    """The device keeps one update, the broker no queue, the ledger what 20 rounds were computed of."""
    for device in fleet.devices.values():
        database = device.folder / "state" / "agent.db"
        assert query(database, "SELECT count(*) FROM outbox") == [(1,)]
        fleet.pause(device.name)  # it replaces files all the time
        size = sum(file.stat().st_size for file in database.parent.iterdir())
        fleet.resume(device.name)
        assert size < WAL_BYTES + 300_000
    [(frames,)] = query(fleet.ledger, "SELECT count(*) FROM frames")
    assert frames <= 3 * (20 + 2)
    retained, stored = _broker_counts(strict)
    print(f"the broker stores {stored} messages, of which {retained} are retained")
    assert stored <= retained + 60, "more waits at the broker than what three devices say in a round"


def _broker_counts(strict: StrictBroker) -> tuple[int, int]:
    """Retained messages, and all that the broker stores, as it says itself."""
    seen: dict[str, int] = {}
    client = strict.access.client("observer")
    client.on_message = lambda _client, _data, message: seen.update({message.topic: int(message.payload)})
    client.connect("127.0.0.1", strict.port)
    topics = ("$SYS/broker/retained messages/count", "$SYS/broker/store/messages/count")
    client.subscribe([(topic, 0) for topic in topics])
    client.loop_start()
    deadline_s = time.monotonic() + 90
    while len(seen) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.05)
    client.disconnect()
    client.loop_stop()
    return seen[topics[0]], seen[topics[1]]


@pytest.mark.chaos
def test_a_hundred_rounds_take_no_memory(tmp_path: Path) -> None:
    # Allocators settle for some hundred rounds: here only what would fill a device within a day shows.
    assert max(grows(tmp_path / "fleet", rounds=100, warm_up=40).values()) < 20


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_thousand_rounds_grow_by_less_than_a_megabyte(tmp_path: Path) -> None:
    # SQLite's page cache fills up to 2 MB first: a closed round's row of figures takes some 600 bytes.
    assert max(grows(tmp_path / "fleet", rounds=2_000, warm_up=1_000).values()) < 1


@pytest.mark.chaos
def test_the_outbox_holds_only_the_newest_update(tmp_path: Path) -> None:
    """A device whose receipts never come keeps one update, however many rounds go by without it."""
    with strict_broker() as strict, FleetOfProcesses(tmp_path / "f", strict.broker, strict.access) as fleet:
        robust(fleet, devices=3, rounds=100_000, quorum=2, deadline_s=1.0)
        fleet.start_devices()
        fleet.start_aggregator()
        fleet.until(lambda: closed(fleet) >= 2, "rounds close")
        device = fleet.devices["device-00"]
        for _ in range(3):
            fleet.hold_at_work("device-00")
            fleet.pause("aggregator")  # there is work that it has not answered: nobody will now
            device.release()
            fleet.until(
                lambda: (device.saved() or (0, 0, b"", "x"))[3] is None, "an update waits for its receipt"
            )
            saved = device.saved()
            assert saved is not None
            fleet.kill("device-00")
            fleet.resume("aggregator")
            before = closed(fleet)
            fleet.until(lambda before=before: closed(fleet) > before + 1, "rounds go by")
            fleet.start_devices("device-00")
            fleet.until(
                lambda saved=saved: (device.saved() or saved)[1] > saved[1], "it goes on with a newer one"
            )
            assert query(device.folder / "state" / "agent.db", "SELECT count(*) FROM outbox") == [(1,)]
