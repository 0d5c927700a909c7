"""A broker that starts again with a smaller limit in the middle of a large message, each way."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedge.wire.frames import FRAME_BYTES
from fleet.demo import broker as brokers
from tests.system.audit import check_books
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses
from tests.system.limited import Limited
from tests.system.mqtt_proxy import PUBLISH, Line, MqttProxy, Packet, published

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed"),
]

UNITS = 80, 4_000
LARGE = {
    **CLASSIFIER,
    "layers": [layer for n in UNITS for layer in ({"type": "dense", "units": n}, {"type": "relu"})],
}
WEIGHTS = (5 + 1) * 80 + (80 + 1) * 4_000 + (4_000 + 1) * 3
MODEL = 4 * WEIGHTS
FRAMES = -(-MODEL // FRAME_BYTES)
BEFORE, AFTER = 2_000_000, 20_000
"""The largest packets that the broker takes, in bytes."""


class StandsStill(Line):
    """One connection; it stands still, upwards, before a frame that the proxy waits for."""

    async def up(self, packet: Packet) -> Packet | None:
        assert isinstance(self.proxy, Gate)
        if packet.kind == PUBLISH and self.proxy.stops(published(packet).topic):
            self.proxy.stopped.set()
            await asyncio.Event().wait()  # until the broker or the client goes
        return packet


class Gate(MqttProxy):
    """Stops before the frame with number `after` on topics with `word` in them, once it is told to."""

    def __init__(self, port: int) -> None:
        super().__init__(port, StandsStill)
        self.stopped = threading.Event()
        self._word, self._left = "", 0

    def stop_after(self, word: str, frames: int) -> None:
        self.stopped.clear()
        self._word, self._left = word, frames

    def stops(self, topic: str) -> bool:
        if not self._word or self._word not in topic:
            return False
        self._left -= 1
        if self._left >= 0:
            return False
        self._word = ""
        return True


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Limited]:
    limited = Limited(tmp_path / "broker", BEFORE)
    with limited.broker:
        yield limited


def configure(fleet: FleetOfProcesses, **more: object) -> None:
    fleet.configure(
        federation={"seed": 7},
        model=LARGE,
        plan={"epochs": 1, "batch_size": 60, "learning_rate": 0.01},
        rounds={"quorum": 2, "target": 2, "deadline_s": 300.0},
        stopping={"rounds": 1},
        **more,
    )


def learns(fleet: FleetOfProcesses) -> None:
    """Learning ends, each round with two updates, and all devices hold the last model."""
    assert fleet.ends() == 0
    assert [row.devices for row in fleet.rounds()] == [2, 2]
    assert check_books(fleet) == 1
    final = fleet.final_model()
    fleet.until(
        lambda: all(device.held_model() == final for device in fleet.devices.values()),
        "all hold the final model",
    )


@pytest.mark.slow
def test_an_update_of_which_half_has_arrived_is_cut_anew_and_counts_once(
    limited: Limited, tmp_path: Path
) -> None:
    assert FRAMES == 11
    with (
        Gate(limited.port) as gate,
        FleetOfProcesses(tmp_path / "fleet", limited.broker) as fleet,
    ):
        configure(fleet)
        fleet.device("near", *motions(0))
        fleet.device("far", *motions(1), access={"url": gate.url})
        # The survey is one frame on the same topic.
        gate.stop_after("/update/", 1 + FRAMES // 2)
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        assert gate.stopped.wait(PATIENCE_S)
        fleet.until(
            lambda: (
                query(fleet.ledger, "SELECT count(*) FROM frames WHERE device = 'far' AND size > 1000000")
                >= [(FRAMES // 2,)]
            ),
            "half of the update has arrived",
        )
        limited.limit(AFTER)
        learns(fleet)
        ((frames,),) = query(
            fleet.ledger, "SELECT DISTINCT n FROM frames WHERE device = 'far' AND size > 1000000"
        )
        assert frames > MODEL // AFTER, "what counted is in the new cut alone"


@pytest.mark.slow
def test_a_model_that_moves_can_be_read_meanwhile_however_long_that_takes(
    limited: Limited, tmp_path: Path
) -> None:
    """The aggregator stands still amid the finer frames; a device that comes then reads the others."""
    with (
        Gate(limited.port) as gate,
        FleetOfProcesses(tmp_path / "fleet", limited.broker) as fleet,
    ):
        configure(fleet, broker={"url": gate.url})
        for number, name in enumerate(("one", "two", "late")):
            fleet.device(name, *motions(number)).hold(2 if name != "late" else 1)
        fleet.start_devices("one", "two")
        fleet.start_aggregator("--exit-when-done")
        early = [fleet.devices[name] for name in ("one", "two")]
        fleet.until(lambda: all(device.reads == 2 for device in early), "both train")
        gate.stop_after("/model/", MODEL // AFTER // 2)
        limited.limit(AFTER)
        assert gate.stopped.wait(PATIENCE_S)
        fleet.start_devices("late")
        fleet.until(lambda: fleet.devices["late"].reads == 1, "it has the model, and trains")
        assert gate.stopped.is_set(), "the aggregator still stands amid its frames"
        limited.limit(AFTER)  # the connection ends, and the next one goes on
        for device in fleet.devices.values():
            device.release()
        learns(fleet)


@pytest.mark.slow
def test_a_model_of_which_half_has_been_published_is_cut_anew(limited: Limited, tmp_path: Path) -> None:
    with (
        Gate(limited.port) as gate,
        FleetOfProcesses(tmp_path / "fleet", limited.broker) as fleet,
    ):
        configure(fleet, broker={"url": gate.url})
        for number in range(2):
            fleet.device(f"device-{number}", *motions(number))
        gate.stop_after("/model/", FRAMES // 2)
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        assert gate.stopped.wait(PATIENCE_S)
        limited.limit(AFTER)
        learns(fleet)
