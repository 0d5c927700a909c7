"""How often a device asks the broker for a task and a model."""

from pathlib import Path

import pytest

from agent.core.lifecycle.download import FETCH_RETRY_S
from tests.agent.besieged import LAB, Device, Federation, frames, model

ROUND = LAB.round


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path / "device", None)
    device.hears(Federation(tmp_path / "lab").says(1))
    return device


def times_asked(device: Device) -> int:
    return sum(
        wanted.pattern == LAB.model_frames(0).replace("+", "[^/]+") for wanted in device.broker.subscribed
    )


def test_a_large_model_on_a_thin_link_is_asked_for_once(device: Device, tmp_path: Path) -> None:
    said = Federation(tmp_path / "lab").says(2)
    device.hears({ROUND: said.pop(ROUND)})
    pieces = [topic for topic in frames(2) if topic.startswith("fedge/v1/lab/model/")]
    assert len(pieces) > 2
    for topic in pieces[:-1]:
        device.waits(FETCH_RETRY_S * 0.9)
        device.hears({topic: said[topic]})
        assert times_asked(device) == 1
    device.waits(FETCH_RETRY_S * 0.9)
    device.hears(dict.fromkeys(pieces[:-1], b"") | {pieces[0]: said[pieces[0]]})
    device.waits(FETCH_RETRY_S * 0.2)
    assert times_asked(device) == 2, "what is here already does not count as coming"
    device.hears({pieces[-1]: said[pieces[-1]]})
    assert device.holds == model(2)
    assert times_asked(device) == 0
