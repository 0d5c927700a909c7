"""A broker for each test, and a fleet of real processes around it, as in the system tests.

One kind of broker is enough here: what is damaged, full or killed lies on the programs' own disks.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.system.conftest import fleet, undisturbed_model

__all__ = ["fleet", "undisturbed_model"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with brokers.start("auto", tmp_path / "broker") as broker:
        yield broker
