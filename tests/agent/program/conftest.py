"""The broker and the programs that tests of the device's program start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.agent.program.programs import Aggregator


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with brokers.start("mosquitto", tmp_path / "broker") as started:
        yield started


@pytest.fixture
def aggregator(broker: Broker) -> Iterator[Aggregator]:
    aggregator = Aggregator(broker.url)
    yield aggregator
    aggregator.client.link.close(timeout_s=0.2)
