"""Links that lose, delay, throttle, part, and go silent without a word."""

import time
from pathlib import Path

import pytest

from fleet.demo.tcp_proxy import Relay
from tests.chaos.fleets import closed, robust
from tests.chaos.namespaces import Network, needs_namespaces
from tests.chaos.strict_broker import needs_mosquitto, strict_broker
from tests.system.audit import check_books, check_stores
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.wiretap import Wiretap

pytestmark = [pytest.mark.system, needs_mosquitto]

DEVICES = 8
WIDE = {**CLASSIFIER, "layers": [{"type": "dense", "units": 1_000}, {"type": "relu"}]}
"""36 KB: 0.3 s of a line of 1 Mbit/s in each direction, before losses and delays."""
BACK_S = 120.0


def lives_with(folder: Path, rounds: int, partition_s: float) -> None:
    """10 % loss, 300 ± 100 ms each way, 1 Mbit/s: all take part; after a partition all are back in 120 s."""
    with (
        Network(DEVICES, rate="1mbit", loss=0.1) as network,
        strict_broker(hosts=(network.host,)) as strict,
        Relay("127.0.0.1", strict.port, host="0.0.0.0", delay_s=0.3, jitter_s=0.1) as relay,
        FleetOfProcesses(folder, strict.broker, strict.access) as fleet,
    ):
        robust(fleet, devices=0, rounds=100_000, quorum=4, deadline_s=30, model=WIDE)
        access = {"url": f"mqtts://{network.host}:{relay.port}", "keepalive_s": 10}
        for number in range(DEVICES):
            name = f"device-{number}"
            fleet.device(name, *motions(number), access=access)
            fleet.prefixes[name] = network.prefix(number)
        with Wiretap(fleet) as tap:

            def all_are_there() -> bool:
                statuses = [tap.status(name) for name in fleet.devices]
                return all(status is not None and status.online for status in statuses)

            fleet.start_devices()
            fleet.until(all_are_there, "all are online")
            fleet.start_aggregator()
            began_s = time.monotonic()
            _until(fleet, lambda: closed(fleet) >= rounds, 60.0 + rounds * 30.0)
            seconds = time.monotonic() - began_s
            took_part = [row.devices for row in fleet.rounds() if row.closed]
            print(f"{rounds} rounds and the survey in {seconds:.0f} s; took part: {took_part} of {DEVICES}")
            assert min(took_part) >= 0.95 * DEVICES

            network.part()
            time.sleep(partition_s)
            network.heal()
            began_s = time.monotonic()
            before = closed(fleet)
            _until(
                fleet,
                lambda: any(r.closed and r.devices == DEVICES for r in fleet.rounds()[before + 2 :]),
                BACK_S,
            )
            seconds = time.monotonic() - began_s
            print(f"after {partition_s:.0f} s of partition: all in a round {seconds:.0f} s later")
        check_stores(fleet)
        assert check_books(fleet) > rounds


def _until(fleet: FleetOfProcesses, condition, patience_s: float) -> None:  # type: ignore[no-untyped-def]
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s, f"not within {patience_s:.0f} s; rounds: {fleet.rounds()}"
        time.sleep(0.05)


@pytest.mark.chaos
@pytest.mark.timeout(900)
@needs_namespaces
def test_slow_lossy_links_and_a_short_partition(tmp_path: Path) -> None:
    lives_with(tmp_path / "fleet", rounds=3, partition_s=20)


@pytest.mark.long
@pytest.mark.timeout(3600)
@needs_namespaces
def test_slow_lossy_links_and_a_partition_of_ten_minutes(tmp_path: Path) -> None:
    lives_with(tmp_path / "fleet", rounds=50, partition_s=600)


@pytest.mark.chaos
def test_fault_20_a_half_open_connection_is_noticed_and_replaced(tmp_path: Path) -> None:
    """Neither data nor the connection's end arrives: only the keep-alive can tell."""
    with (
        strict_broker() as strict,
        Relay("127.0.0.1", strict.port) as relay,
        FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet,
    ):
        robust(fleet, devices=2, rounds=3, quorum=3, deadline_s=300)
        device = fleet.device(
            "far", *motions(7), access={"url": f"mqtts://127.0.0.1:{relay.port}", "keepalive_s": 10}
        )
        device.hold(3)  # in round 2
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: len(fleet.admitted(2)) == 2, "round 2 lacks only who is far")
        fleet.until(lambda: device.reads == 3, "which is at work")
        relay.forget()
        device.release()
        began_s = time.monotonic()
        assert fleet.ends() == 0
        print(f"the round went on after {time.monotonic() - began_s:.1f} s, keep-alive 10 s")
        assert relay.accepted == 2
        assert [row.devices for row in fleet.rounds()] == [3] * 4
        assert check_books(fleet) == 3


@pytest.mark.chaos
def test_a_partition_shorter_than_the_keepalive_costs_nothing(tmp_path: Path) -> None:
    with (
        strict_broker() as strict,
        Relay("127.0.0.1", strict.port, rate_bps=1e6) as relay,
        FleetOfProcesses(tmp_path / "fleet", strict.broker, strict.access) as fleet,
    ):
        fleet.access = {"url": f"mqtts://127.0.0.1:{relay.port}"}
        robust(fleet, devices=3, rounds=3, quorum=3, deadline_s=300)
        device = fleet.devices["device-02"]
        device.hold(3)
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        fleet.until(lambda: len(fleet.admitted(2)) == 2, "round 2 lacks only who is held")
        fleet.until(lambda: device.reads == 3, "who is at work")
        relay.part()
        device.release()
        fleet.until(lambda: (device.saved() or ())[1:2] == (2,), "it trains and saves without a network")
        relay.heal()
        assert fleet.ends() == 0
        assert [(row.devices, row.attempt) for row in fleet.rounds()] == [(3, 0)] * 4
        assert relay.accepted == 3 + 2  # the aggregator looks on before it begins
        assert check_books(fleet) == 3
