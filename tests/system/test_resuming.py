"""What a lost connection in the middle of a large message costs, in bytes on the wire."""

from pathlib import Path

import pytest

from fedge.wire.frames import FRAME_BYTES
from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.system.audit import check_books
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.mqtt_proxy import PUBLISH, DisconnectError, Line, MqttProxy, Packet

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed"),
]

UNITS = 410, 4_000
LARGE = {
    **CLASSIFIER,
    "layers": [layer for n in UNITS for layer in ({"type": "dense", "units": n}, {"type": "relu"})],
}
WEIGHTS = (5 + 1) * 410 + (410 + 1) * 4_000 + (4_000 + 1) * 3
MODEL = 4 * WEIGHTS
FRAMES = -(-MODEL // FRAME_BYTES)
FRAME = FRAME_BYTES + 200
"""A frame with its topic and header, and what goes with it: an acknowledgement, a subscription."""
SMALL = 60_000
"""The other messages of a run, both ways: status, task, survey, manifests, receipts, pings."""


class CutOnce(Line):
    """Ends the first connection that has carried so many bytes up, and the first that has so many down."""

    async def up(self, packet: Packet) -> Packet | None:
        return self._cut("up", self.bytes_up, packet)

    async def down(self, packet: Packet) -> Packet | None:
        return self._cut("down", self.bytes_down, packet)

    def _cut(self, way: str, so_far: int, packet: Packet) -> Packet:
        assert isinstance(self.proxy, Scissors)
        if packet.kind == PUBLISH and so_far > self.proxy.cuts.get(way, 2**60):
            del self.proxy.cuts[way]
            raise DisconnectError
        return packet


class Scissors(MqttProxy):
    def __init__(self, port: int) -> None:
        super().__init__(port, CutOnce)
        self.cuts: dict[str, int] = {}

    @property
    def carried(self) -> tuple[int, int]:
        """Bytes up and down, over all connections."""
        return sum(line.bytes_up for line in self.lines), sum(line.bytes_down for line in self.lines)


def learns(folder: Path, broker: Broker, **cuts: int) -> tuple[int, int]:
    """One round with a model of 6.6 MB; returns the bytes up and down of one device, which is cut off."""
    with (
        Scissors(int(broker.url.rsplit(":", 1)[1])) as scissors,
        FleetOfProcesses(folder, broker) as fleet,
    ):
        scissors.cuts.update(cuts)
        fleet.configure(
            federation={"seed": 7},
            model=LARGE,
            plan={"epochs": 1, "batch_size": 60, "learning_rate": 0.01},
            rounds={"quorum": 2, "target": 2, "deadline_s": 300.0},
            stopping={"rounds": 1},
        )
        fleet.device("near", *motions(0))
        far = fleet.device("far", *motions(1), access={"url": scissors.url})
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        assert fleet.ends() == 0
        assert [row.devices for row in fleet.rounds()] == [2, 2]
        assert check_books(fleet) == 1
        final = fleet.final_model()
        fleet.until(lambda: far.held_model() == final, "it holds the final model")
        assert scissors.cuts == {}, "it was cut off"
        assert len(scissors.lines) == 1 + len(cuts)
        return scissors.carried


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    return brokers.start("mosquitto", tmp_path / "broker")


@pytest.mark.slow
def test_a_connection_that_is_lost_in_the_middle_of_a_large_message_costs_a_few_frames(
    broker: Broker, tmp_path: Path
) -> None:
    """Of 52 frames: up the one that asks, two under way, one in part; down the four requested and one."""
    assert (FRAMES, MODEL // 100_000) == (52, 66)
    with broker:
        up, down = learns(tmp_path / "fleet", broker, up=MODEL // 2, down=MODEL // 2)
    # It sends one update, and fetches the model of the survey and the last one.
    cost_up, cost_down = up - MODEL, down - 2 * MODEL
    print(f"a lost connection costs {cost_up:,} bytes up and {cost_down:,} bytes down, of {MODEL:,}")
    assert 0 < cost_up < 4 * FRAME + SMALL
    assert 0 < cost_down < 5 * FRAME + SMALL
