"""Fault 72: an authentic announcement with frames that are not its own."""

import logging
from collections.abc import Callable

import pytest

from fedge.wire.frames import split
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_FRAMES
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack, unpack
from tests.agent.besieged import LAB, Device, Federation, frames, model
from tests.agent.model_attacks.attackers import ROUND, forged


def other_models_frames(_lab: Federation) -> list[bytes]:
    return list(split(model(1), 32))


def frames_that_lie_about_their_model(_lab: Federation) -> list[bytes]:
    return forged(model(1), model(3))


def one_flipped_bit(_lab: Federation) -> list[bytes]:
    pieces = [bytearray(piece) for piece in split(model(3), 32)]
    pieces[1][-1] ^= 1
    return [bytes(piece) for piece in pieces]


def cut_in_another_way(_lab: Federation) -> list[bytes]:
    """One frame that is possible by itself, and contradicts all genuine ones."""
    genuine = unpack(split(model(3), 32)[0], Frame)
    return [pack(genuine.model_copy(update={"data": genuine.data + b"x"}))]


def one_is_missing(_lab: Federation) -> list[bytes]:
    return list(split(model(3), 32))[:-1]


def endless(_lab: Federation) -> list[bytes]:
    """More frames than any message has, each as large as a payload may be."""
    claims = Frame(id=b"e" * 32, i=0, n=MAX_FRAMES, size=MAX_FRAMES * 100_000, data=bytes(100_000))
    return [pack(claims.model_copy(update={"id": bytes([i]) * 32})) for i in range(200)]


@pytest.mark.parametrize(
    "frames_of",
    [
        other_models_frames,
        frames_that_lie_about_their_model,
        one_flipped_bit,
        cut_in_another_way,
        one_is_missing,
        endless,
    ],
)
def test_fault_72_mixed_and_matched_an_authentic_announcement_with_other_frames(
    frames_of: Callable[[Federation], list[bytes]],
    device: Device,
    lab: Federation,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.clear()
    genuine = lab.says(3)
    device.hears(dict.fromkeys(frames(1), b""), {ROUND: genuine[ROUND]})
    for _ in range(10):
        for i, piece in enumerate(frames_of(lab)):
            device.hears({LAB.model(1, i): piece})
            held_bytes = device.runtime._downloads.incomplete_bytes
            assert held_bytes < 10_000, "it sets aside what was announced, and nothing else"
    device.waits(20.0)
    assert (device.holds, device.worked) == (model(2), [])
    assert len([line for line in caplog.records if line.levelno >= logging.WARNING]) <= 1
    device.restart()
    assert device.holds == model(2)
    device.hears(genuine)
    device.waits(20.0)
    assert device.holds == model(3)


def test_a_cleared_announcement_says_nothing(device: Device, lab: Federation) -> None:
    device.hears({ROUND: b""}, dict.fromkeys(frames(2), b""))
    device.restart()
    assert (device.holds, device.seen.round) == (model(2), RoundId(1, 2))
