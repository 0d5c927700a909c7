"""The agent's shell: what is due is done."""

from pathlib import Path

import pytest

from agent.lifecycle import FETCH_RETRY_S
from fedge.messages import seal
from tests.agent.besieged import LAB, Device, arrived, frames, manifest, model


@pytest.mark.parametrize("flooded", [False, True])
def test_what_is_lost_is_asked_for_again_though_messages_never_pause(tmp_path: Path, flooded: bool) -> None:
    device = Device(tmp_path, None)
    device.hears({LAB.round: seal(manifest(1))})
    device.broker.retained.update(frames(1))  # lost on the way to it
    for _ in range(int(FETCH_RETRY_S)):
        assert device.holds is None
        device.now_s += 1
        device.runtime.turn(arrived(LAB.receipt("pi-1"), b"garbage") if flooded else None)
        device.settle()
    assert device.holds == model(1)
