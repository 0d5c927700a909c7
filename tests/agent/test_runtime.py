"""The agent's shell: what is due is done."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from agent import events as on
from agent.lifecycle import FETCH_RETRY_S
from fedge.freshness import RoundId
from fedge.link import Publication
from fedge.messages import Receipt, pack, seal
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


@pytest.mark.parametrize("ended_by", ["nothing", "its receipt", "a newer round"])
def test_no_more_of_an_update_leaves_than_is_wanted(
    tmp_path: Path, ended_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a thin link most of it waits for room when it is answered, or its round closed without it."""
    device = Device(tmp_path, None)
    device.hears({**frames(1), LAB.round: seal(manifest(1, state="open"))})
    waiting: list[Iterator[Publication]] = []

    def send(publications: Iterable[Publication], _token: object = None) -> None:
        waiting.append(iter(publications))

    monkeypatch.setattr(device.broker, "send", send)
    payload = bytes(300_000)
    digest = sha256(payload).digest()
    device.runtime.turn(on.Done(device.now_s, RoundId(1, 1), digest, payload, 100))
    (update,) = waiting
    assert next(update).topic == LAB.update("pi-1")
    if ended_by == "its receipt":
        receipt = Receipt(generation=1, round=1, update=digest, verdict="admitted")
        device.hears({LAB.receipt("pi-1"): pack(receipt)})
    elif ended_by == "a newer round":
        device.hears({LAB.round: seal(manifest(2, state="open"))})
    assert len(list(update)) == (2 if ended_by == "nothing" else 0)
