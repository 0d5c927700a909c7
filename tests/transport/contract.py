"""The networks on which the contract of transports is tested, and what their peers say there."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedge.transport import MessageArrived, Publication
from fleet.demo import broker as brokers
from tests.transport.networks import MqttNetwork, Network, VirtualNetwork
from tests.transport.peer import Peer

MQTT = pytest.param(
    "mqtt",
    marks=[
        pytest.mark.system,
        pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed"),
    ],
)
KEPT_S = 600


@pytest.fixture(params=["virtual", MQTT])
def network(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Network]:
    made: Network = VirtualNetwork() if request.param == "virtual" else MqttNetwork(tmp_path)
    yield made
    made.close()


def words(topic: str, payload: bytes = b"x") -> Publication:
    return Publication(topic, payload)


def payloads(messages: list[MessageArrived]) -> list[bytes]:
    return [message.payload for message in messages]


def numbered(count: int, begun: int = 0) -> list[Publication]:
    return [words("a", b"%d" % i) for i in range(begun, begun + count)]


def opened(network: Network, *names: str) -> list[Peer]:
    peers = [network.peer(name) for name in names]
    for peer in peers:
        peer.open()
    return peers
