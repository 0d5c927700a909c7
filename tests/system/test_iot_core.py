"""A federation learns within AWS IoT Core's limits, and the proxy that enforces them does so."""

import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.system import iot_core
from tests.system.audit import check_books
from tests.system.databases import query
from tests.system.federations import CLASSIFIER, motions
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.iot_core import IotCore

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed"),
]

PACE = {"publishes_per_s": 50, "bytes_per_s": 250_000}
"""As docs/operations.md says for IoT Core."""
LARGE = {**CLASSIFIER, "layers": [{"type": "dense", "units": 4_000}, {"type": "relu"}]}
"""5 * 4,000 + 4,000 + 4,000 * 3 + 3 weights: 144 KB, two frames."""


@pytest.fixture
def mosquitto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    more = brokers.MOSQUITTO.replace("max_inflight_messages 20", "max_inflight_messages 200")
    assert more != brokers.MOSQUITTO
    monkeypatch.setattr(brokers, "MOSQUITTO", more)
    with brokers.start("mosquitto", tmp_path / "broker") as broker:
        yield broker


@pytest.fixture
def cloud(mosquitto: Broker) -> Iterator[IotCore]:
    with IotCore(int(mosquitto.url.rsplit(":", 1)[1])) as cloud:
        yield cloud


def test_a_federation_learns_within_the_limits_of_iot_core(
    mosquitto: Broker, cloud: IotCore, tmp_path: Path
) -> None:
    with FleetOfProcesses(tmp_path / "fleet", mosquitto, {"url": cloud.url, **PACE}) as fleet:
        fleet.configure(
            federation={"seed": 7},
            model=LARGE,
            plan={"epochs": 1, "batch_size": 8, "learning_rate": 0.01},
            rounds={"quorum": 3, "target": 3, "deadline_s": 300.0},
            stopping={"rounds": 2},
        )
        for number in range(3):
            fleet.device(f"device-{number}", *motions(number))
        fleet.start_devices()
        fleet.start_aggregator("--exit-when-done")
        assert fleet.ends() == 0
        assert [row.devices for row in fleet.rounds()] == [3] * 3
        assert check_books(fleet) == 2
        final = fleet.final_model()
        fleet.until(
            lambda: all(device.held_model() == final for device in fleet.devices.values()),
            "all hold the final model",
        )
        frames = query(fleet.ledger, "SELECT max(n) FROM frames")[0][0]
    assert frames == 2, "an update takes more than one frame"
    clients = {line.client for line in cloud.lines}
    assert len(clients) == 3 + 2, "the aggregator watches under a name of its own first"
    print(f"nothing was exceeded: {cloud.exceeded}; the most of each: {cloud.most}")
    assert cloud.exceeded == []
    # These are bounds by design, however busy the machine is: what is under way, and what a second allows.
    assert cloud.most["publishes in a second"] <= 16 + 50
    assert cloud.most["unacknowledged"] <= 16
    assert cloud.most["payload"] > 100_000
    assert cloud.most["QoS"] == 1


# ── the limits hold ────────────────────────────────────────────────────────────────────────────────


class Client:
    """A client without manners."""

    def __init__(self, port: int) -> None:
        self.ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.acknowledged = 0
        self.granted: Any = None
        client = mqtt.Client(CallbackAPIVersion.VERSION2, "rude", protocol=mqtt.MQTTv5)
        client.max_inflight_messages_set(1_000)
        client.on_disconnect = lambda *args: self.ended.put(args[3].value)
        client.on_publish = self._acknowledge
        client.on_connect = self._begin
        self.heard: list[bytes] = []
        client.on_message = lambda _client, _data, message: self.heard.append(message.payload)
        self._up: queue.SimpleQueue[int] = queue.SimpleQueue()
        client.connect("127.0.0.1", port)
        client.loop_start()
        self._up.get(timeout=60)
        self.mqtt = client

    def _begin(self, *args: Any) -> None:
        self.granted = args[4]
        self._up.put(1)

    def _acknowledge(self, *_: object) -> None:
        self.acknowledged += 1


@pytest.fixture
def rude(cloud: IotCore) -> Iterator[Client]:
    client = Client(cloud.port)
    yield client
    client.mqtt.disconnect()
    client.mqtt.loop_stop()


def qos_2(client: mqtt.Client) -> None:
    client.publish("a", b"x", qos=2)


def large(client: mqtt.Client) -> None:
    client.publish("a", bytes(131_073), qos=1)


def deep(client: mqtt.Client) -> None:
    client.publish("/".join("abcdefghi"), b"x", qos=1)


def deep_filter(client: mqtt.Client) -> None:
    client.subscribe("/".join("abcdefghi"), qos=1)


def nine_at_once(client: mqtt.Client) -> None:
    client.subscribe([(f"a/{i}", 1) for i in range(9)])


def fifty_one(client: mqtt.Client) -> None:
    for begin in range(0, 51, 3):
        client.subscribe([(f"a/{i}", 1) for i in range(begin, begin + 3)])


@pytest.mark.parametrize(
    ("does", "code", "what"),
    [
        (qos_2, iot_core.QOS, "2 QoS, at most 1"),
        (large, iot_core.TOO_LARGE, "131073 payload, at most 131072"),
        (deep, iot_core.TOPIC, "8 slashes, at most 7"),
        (deep_filter, iot_core.FILTER, "8 slashes, at most 7"),
        (nine_at_once, iot_core.QUOTA, "9 filters in a SUBSCRIBE, at most 8"),
        (fifty_one, iot_core.QUOTA, "51 subscriptions, at most 50"),
    ],
)
def test_what_may_not_be_ends_the_connection(
    cloud: IotCore, rude: Client, does: Callable[[mqtt.Client], None], code: int, what: str
) -> None:
    does(rude.mqtt)
    assert rude.ended.get(timeout=60) == code
    assert cloud.exceeded == [f"rude: {what}"]


def test_what_is_just_within_the_limits_passes(cloud: IotCore, rude: Client) -> None:
    rude.mqtt.publish("/".join("abcdefgh"), bytes(131_072), qos=1).wait_for_publish(60)
    rude.mqtt.subscribe([(f"a/{i}", 1) for i in range(8)])
    rude.mqtt.publish("a/0", b"x", qos=1).wait_for_publish(60)
    assert rude.acknowledged == 2
    assert cloud.exceeded == []
    assert rude.granted.ReceiveMaximum == 100
    assert not hasattr(rude.granted, "MaximumPacketSize")


def test_publications_beyond_the_rate_are_discarded(cloud: IotCore, rude: Client) -> None:
    """The connection stays, and nothing tells the client: it must keep the rate by itself."""
    rude.mqtt.subscribe("a", qos=0)
    for _ in range(300):
        rude.mqtt.publish("a", b"x", qos=0)
    deadline_s = time.monotonic() + 60
    while len(rude.heard) + len(cloud.exceeded) < 300:
        assert time.monotonic() < deadline_s, (len(rude.heard), cloud.exceeded[-3:])
        time.sleep(0.01)
    assert "rude: 101 publishes in a second, at most 100" in cloud.exceeded
    assert rude.ended.empty()


def test_bytes_beyond_the_throughput_are_delayed(cloud: IotCore, rude: Client) -> None:
    began_s = time.monotonic()
    for _ in range(12):
        info = rude.mqtt.publish("a", bytes(131_000), qos=1)
    info.wait_for_publish(60)
    assert rude.acknowledged == 12, "nothing is lost"
    # 1.57 MB: one second's worth at once, the rest at 512 KB/s.
    assert time.monotonic() - began_s > 1.9
    assert any("bytes in a second" in said for said in cloud.exceeded)


def test_more_unacknowledged_than_granted_end_the_connection(cloud: IotCore, mosquitto: Broker) -> None:
    """The broker is stopped, so that it acknowledges nothing; the rate is kept."""
    client = Client(cloud.port)
    assert isinstance(mosquitto, brokers.LocalBroker)
    assert mosquitto._program is not None
    process = mosquitto._program.process
    process.send_signal(19)  # SIGSTOP
    try:
        for i in range(101):
            client.mqtt.publish("a", b"%d" % i, qos=1)
            time.sleep(0.015)
        assert client.ended.get(timeout=60) == iot_core.RECEIVE_MAXIMUM_EXCEEDED
    finally:
        process.send_signal(18)  # SIGCONT
        client.mqtt.loop_stop()
