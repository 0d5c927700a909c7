"""The frames of the newest update: cut as the limits allow, and cut anew only if they must be smaller."""

from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import pytest

from agent.shell.outbox import Outbox
from fedge.wire.frames import FRAME_BYTES, FRAME_HEAD
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import unpack

PAYLOAD = bytes(range(256)) * 1_200
DIGEST = sha256(PAYLOAD).digest()


@pytest.fixture
def outbox() -> Outbox:
    memory: Any = SimpleNamespace(payload={DIGEST: PAYLOAD}.get)
    return Outbox(memory)


def sent(outbox: Outbox, room: int, numbers: tuple[int, ...] | None = None) -> list[Frame]:
    batch = outbox.frames(DIGEST, numbers, None, lambda: True, room)
    assert batch is not None
    found = list(batch[0])
    outbox.end(batch[1])
    assert all(len(piece) <= room for piece in found)
    return [unpack(piece, Frame) for piece in found]


def test_a_smaller_limit_cuts_anew_and_a_larger_one_keeps_the_cut(outbox: Outbox) -> None:
    """After a reconnection the aggregator may have frames, which only serve with others of their cut."""
    assert [len(frame.data) for frame in sent(outbox, 131_072)] == [FRAME_BYTES] * 2 + [49_152]
    assert (len(PAYLOAD), 2 * FRAME_BYTES + 49_152) == (307_200, 307_200)
    finer = sent(outbox, 20_000)
    assert {len(frame.data) for frame in finer[:-1]} == {20_000 - FRAME_HEAD}
    assert b"".join(frame.data for frame in finer) == PAYLOAD
    (again,) = sent(outbox, 131_072, (3,))
    assert again == finer[3]


def test_frames_that_are_asked_for_and_do_not_exist_in_this_cut_are_left_out(outbox: Outbox) -> None:
    """A receipt that crossed the new cut names frames of the former one."""
    sent(outbox, 20_000)
    assert [frame.i for frame in sent(outbox, 20_000, (2, 15, 16, 400))] == [2, 15]
    assert len(sent(outbox, 20_000)) == 16  # 307,200 / 19,885


def test_a_restart_cuts_from_the_memory(outbox: Outbox) -> None:
    assert sent(outbox, 20_000, (0,))[0].n == 16
    assert outbox.frames(b"x" * 32, None, None, lambda: True, 20_000) is None


def numbers(outbox: Outbox, wanted: tuple[int, ...] | None, asks: RoundId | None = None) -> list[int]:
    batch = outbox.frames(DIGEST, wanted, asks, lambda: True, 20_000)
    return [unpack(piece, Frame).i for piece in batch[0]] if batch is not None else []


def test_what_is_on_its_way_is_not_sent_again_on_this_connection(outbox: Outbox) -> None:
    """On a slow line a receipt names as missing what still waits for the line."""
    probe = outbox.frames(DIGEST, (0,), None, lambda: True, 20_000)
    assert probe is not None
    assert numbers(outbox, (0,)) == [], "the update is not repeated meanwhile"
    assert numbers(outbox, (1, 2, 15)) == [1, 2, 15]
    assert numbers(outbox, (0, 1, 2, 3, 15)) == [3]
    assert numbers(outbox, (0,), RoundId(1, 1)) == [0], "a question is no repetition"
    outbox.end(probe[1])
    assert numbers(outbox, (0,)) == [], "others are still on their way"
    outbox.forget()
    assert numbers(outbox, (0,)) == [0], "the next connection begins anew"
    assert numbers(outbox, None) == list(range(1, 16))
