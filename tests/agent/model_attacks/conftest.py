"""A federation, and a device that has followed two rounds of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedge.wire.freshness import RoundId
from tests.agent.besieged import Device, Federation, model


@pytest.fixture
def lab(tmp_path: Path) -> Federation:
    return Federation(tmp_path / "lab")


@pytest.fixture
def device(tmp_path: Path, lab: Federation) -> Iterator[Device]:
    """It has followed two rounds."""
    device = Device(tmp_path / "device", lab.pin)
    device.hears(lab.says(1), lab.says(2))
    assert (device.holds, device.seen.round) == (model(2), RoundId(1, 2))
    yield device
    assert device.memory is not None
    device.memory.close()
