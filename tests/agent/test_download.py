"""How often a device asks the broker for a task and a model."""

from pathlib import Path

import pytest

from agent.core.lifecycle.download import FETCH_RETRY_S
from agent.shell.frame_requests import AT_ONCE
from fedge.transport import LinkUp
from fedge.wire.frames import split
from tests.agent import besieged
from tests.agent.besieged import LAB, Device, Federation, model

ROUND = LAB.round


@pytest.fixture
def device(tmp_path: Path) -> Device:
    device = Device(tmp_path / "device", None)
    device.hears(Federation(tmp_path / "lab").says(1))
    return device


@pytest.fixture
def said(device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The frames of another model, which is announced and not there yet."""
    monkeypatch.setattr(besieged, "FRAME_BYTES", 6)
    said = Federation(tmp_path / "lab").says(2)
    device.broker.asked.clear()
    device.hears({ROUND: said.pop(ROUND)})
    return {topic: frame for topic, frame in said.items() if topic.startswith("fedge/v1/lab/model/")}


def asked(device: Device) -> list[str]:
    """The frames of the model that were requested since the last look, in their order."""
    found = [topic for topic in device.broker.asked if topic.startswith("fedge/v1/lab/model/")]
    device.broker.asked.clear()
    return found


def subscribed(device: Device) -> list[str]:
    return [
        each.pattern for each in device.broker.subscribed if each.pattern.startswith("fedge/v1/lab/model/")
    ]


def test_a_large_model_on_a_thin_link_is_asked_for_once(device: Device, said: dict[str, bytes]) -> None:
    pieces = list(said)
    assert len(pieces) > AT_ONCE, "not all of them are requested at a time"
    assert asked(device) == pieces[:AT_ONCE]
    for i, topic in enumerate(pieces[:-1]):
        device.waits(FETCH_RETRY_S * 0.9)
        device.hears({topic: said[topic]})
        assert asked(device) == pieces[AT_ONCE + i : AT_ONCE + i + 1]
        assert subscribed(device) == pieces[i + 1 : AT_ONCE + i + 1]
    device.waits(FETCH_RETRY_S * 0.9)
    device.hears({pieces[0]: said[pieces[0]]})
    device.waits(FETCH_RETRY_S * 0.2)
    assert asked(device) == pieces[-1:], "what is here already does not count as coming"
    device.hears({pieces[-1]: said[pieces[-1]]})
    assert device.holds == model(2)
    assert subscribed(device) == []


def test_after_a_reconnection_only_what_is_missing_is_asked_for(
    device: Device, said: dict[str, bytes]
) -> None:
    pieces = list(said)
    missing = [pieces[1], *pieces[5:]]
    device.hears({topic: said[topic] for topic in pieces if topic not in missing})
    device.broker.subscribed.clear()  # a clean session
    asked(device)
    device.runtime.turn(LinkUp(connection=2, session_present=False, max_packet=2**20))
    device.settle()
    assert asked(device) == missing[:AT_ONCE]
    device.hears({topic: said[topic] for topic in missing})
    assert device.holds == model(2)


def test_frames_of_another_cut_than_the_announced_one_are_taken(
    device: Device, said: dict[str, bytes]
) -> None:
    """The aggregator has cut the model anew, for another broker; its announcement comes after the frames."""
    pieces = list(said)
    device.hears({topic: said[topic] for topic in pieces[:3]})
    asked(device)
    finer = split(model(2), 5)
    assert len(finer) > len(pieces)
    device.hears({LAB.model(0, i): finer[i] for i in range(len(finer))})
    device.waits(FETCH_RETRY_S * 1.1)  # those that were published before it asked for them
    assert device.holds == model(2)
    assert subscribed(device) == []


def test_a_content_that_moves_to_its_other_slot_is_asked_for_there_at_once(
    device: Device, tmp_path: Path, said: dict[str, bytes]
) -> None:
    """Cut anew for another broker: the frames are there when the announcement comes, and those before go."""
    lab = Federation(tmp_path / "lab")
    pieces, finer = list(said), split(model(2), 5)
    device.hears({topic: said[topic] for topic in pieces[:3]})
    device.hears({LAB.model(1, i): finer[i] for i in range(len(finer))})
    assert device.holds != model(2)
    place = besieged.blob(model(2), 1).model_copy(update={"frames": len(finer)})
    device.hears({ROUND: lab.signer.seal(besieged.manifest(2, model=place), "round")})
    assert device.holds == model(2), "it has not waited for the time of its next request"
    assert subscribed(device) == []


def test_frames_of_a_cut_that_was_never_published_whole_are_given_up(
    device: Device, said: dict[str, bytes]
) -> None:
    """The aggregator began to publish a finer cut, and ended. The next one cuts the model as before: of the
    finer cut the broker has the last frames alone, and nobody sends the others any more."""
    pieces, finer = list(said), split(model(2), 5)
    first = {LAB.model(0, i): finer[i] for i in range(len(pieces))}
    device.hears(first)
    device.broker.retained.update(said)  # published while the device was away
    for _ in range(3):
        device.waits(FETCH_RETRY_S * 5)
    assert device.holds == model(2)
    assert subscribed(device) == []
