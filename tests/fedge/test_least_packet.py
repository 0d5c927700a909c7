"""Of a broker that takes too small packets is told what it offers, what is needed, and where to set it."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.config import AgentSettings
from aggregator.config import FederationSettings
from fedge.errors import ConfigError
from fedge.service.settings import FileSettings
from fedge.transport import LinkDown, LinkUp, Publication
from fedge.transport.packets import EXPIRY_BYTES, LEAST_PACKET, connect_bytes, packet_bytes
from fedge.wire.encoding import LEAST_PAYLOAD
from fedge.wire.topics import LONGEST_DEVICE, LONGEST_FEDERATION, Topics
from fleet.demo import broker as brokers
from tests.fedge.client import Client
from tests.wording import assert_tells, lines_telling

needs_mosquitto = [
    pytest.mark.system,
    pytest.mark.skipif(not brokers._find_mosquitto(), reason="mosquitto is not installed"),
]


def test_the_least_packet_holds_the_least_payload_on_each_topic_of_a_message_that_is_not_cut() -> None:
    topics, device = Topics("f" * LONGEST_FEDERATION), "d" * LONGEST_DEVICE
    each = (topics.update(device), topics.receipt(device), topics.status(device), topics.round, topics.export)
    most = max(packet_bytes(topic, LEAST_PAYLOAD, expires=True) for topic in each)
    assert most <= LEAST_PACKET < most + EXPIRY_BYTES


@pytest.mark.parametrize("settings", [AgentSettings, FederationSettings])
def test_a_setting_below_the_least_payload_is_refused_when_it_is_read(
    settings: type[FileSettings], tmp_path: Path
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"[broker]\nmax_payload_bytes = {LEAST_PAYLOAD - 1}\n")
    with pytest.raises(ConfigError) as told:
        settings.load(file, {})
    (line,) = lines_telling(str(told.value), "[broker] max_payload_bytes")
    assert_tells(line, str(file), "4096", "4095", "not cut")


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """Starts one broker, or starts it again, with another limit on packets; gives its address."""
    broker = brokers.start("mosquitto", tmp_path / "broker")
    configured = tmp_path / "broker" / "mosquitto.conf"

    def limit(size: int) -> str:
        text = re.sub(r"max_packet_size \d+", f"max_packet_size {size}", configured.read_text())
        configured.write_text(text)
        broker.restart()
        return broker.url

    with broker:
        yield limit


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(url: str, will: int = 10, **options: object) -> Client:
        last = Publication("status/pi", bytes(will), retain=True)
        made.append(Client(url, "pi", will=lambda _: last, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.link.close(timeout_s=5.0)


class TestMosquitto:
    pytestmark = needs_mosquitto

    @pytest.mark.parametrize("will", [10, 2_000])
    def test_what_is_offered_and_needed_is_told_also_if_the_will_is_larger_than_that(
        self, limited: Callable[[int], str], client: Callable[..., Client], will: int
    ) -> None:
        """Mosquitto does not answer a CONNECT over its limit: it closes the connection."""
        pi = client(limited(1_000), will)
        pi.link.open()
        for _ in range(2):
            assert_tells(pi.wait_for(LinkDown).reason, "1,000", f"{LEAST_PACKET:,}", "max_packet_size")
        limited(LEAST_PACKET)
        assert pi.wait_for(LinkUp).max_packet == LEAST_PACKET, "it has gone on trying"

    def test_one_byte_less_than_the_least_does_not_do(
        self, limited: Callable[[int], str], client: Callable[..., Client]
    ) -> None:
        pi = client(limited(LEAST_PACKET - 1))
        pi.link.open()
        assert_tells(pi.wait_for(LinkDown).reason, f"{LEAST_PACKET - 1:,}", f"{LEAST_PACKET:,}")

    def test_a_will_that_is_too_large_for_a_limit_above_the_least_is_told(
        self, limited: Callable[[int], str], client: Callable[..., Client], tmp_path: Path
    ) -> None:
        password = tmp_path / "password"
        password.write_text("secret\n")
        most = 6_000
        around = connect_bytes("pi", ("status/pi", most), "somebody", "secret") - most
        url = limited(most)
        fits = client(url, most - around, username="somebody", password_file=password)
        assert fits.open()
        fits.link.close()
        # Mosquitto 2.0 counts a length field of two bytes as none.
        pi = client(url, most - around + 3, username="somebody", password_file=password)
        pi.link.open()
        assert_tells(
            pi.wait_for(LinkDown).reason, f"{most:,}", "last will", f"{most + 3:,}", "max_packet_size"
        )
