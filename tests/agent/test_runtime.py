"""The agent's shell: what is due is done."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from agent.core import events as on
from agent.core.lifecycle.download import FETCH_RETRY_S
from agent.shell.memory import Memory
from fedge.errors import StateError
from fedge.transport import Publication
from fedge.wire import encoding
from fedge.wire.frames import split
from fedge.wire.freshness import Attempt, RoundId
from fedge.wire.messages.envelope import seal
from fedge.wire.messages.message import pack, unpack
from fedge.wire.messages.receipt import Receipt
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason
from tests.agent.besieged import FRAME_BYTES, LAB, TASK, Device, arrived, blob, frames, manifest, model


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


def test_no_model_is_followed_of_a_round_that_the_disk_did_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a restart would take part in rounds from before the model that it was said to hold."""
    device = Device(tmp_path, None)
    saves, save_seen = [False, True], Memory.save_seen

    def full_once(memory: Memory, attempt: Attempt) -> None:
        if not saves.pop(0):
            raise StateError("agent.db: database or disk is full")
        save_seen(memory, attempt)

    with monkeypatch.context() as patch:
        patch.setattr(Memory, "save_seen", full_once)
        device.hears({**frames(3), LAB.round: seal(manifest(3))})
    assert (device.holds, saves) == (model(3), [])
    device.broker.retained.clear()
    device.restart()
    assert device.seen.round == RoundId(1, 3)


def test_a_model_is_not_followed_while_the_disk_does_not_take_its_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_memory: Memory, _attempt: Attempt) -> None:
        raise StateError("agent.db: database or disk is full")

    device = Device(tmp_path, None)
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "save_seen", full)
        device.hears({**frames(3), LAB.round: seal(manifest(3))})
        assert device.holds is None
        assert device.status.holds is None


@pytest.mark.parametrize("kind", ["task", "model"])
def test_what_was_announced_and_cannot_be_read_is_declined_and_not_fetched_again(
    tmp_path: Path, kind: str
) -> None:
    """A newer program may mean something by it; who stayed silent would be waited for."""
    if kind == "task":
        strange = encoding.encode({**encoding.decode(pack(TASK)), "features": "all"})
        said, topic = manifest(1, state="open", task=blob(strange, 0)), LAB.task
    else:
        strange = encoding.encode({**encoding.decode(model(1)), "body": bytes(7)})
        said, topic = manifest(1, state="open", model=blob(strange, 0)), LAB.model
    pieces = split(strange, FRAME_BYTES)
    device = Device(tmp_path, None)
    device.hears({**frames(1), **{topic(0, i): pieces[i] for i in range(len(pieces))}, LAB.round: seal(said)})
    (*_, last) = [p.payload for p in device.broker.said if p.topic == LAB.status("pi-1")]
    declined = unpack(last, Status).declined
    assert declined is not None
    assert (declined.reason, f"{kind}:unreadable" in declined.detail) == (Reason.UNSUPPORTED, True)
    device.broker.subscribed.clear()
    for _ in range(1_000):
        device.now_s += 1
        device.runtime.turn(None)
        device.settle()
    assert not device.broker.subscribed
