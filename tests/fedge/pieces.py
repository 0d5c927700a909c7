"""Frames for tests."""

from hypothesis import strategies as st

from fedge.wire import frames
from fedge.wire.frames import FRAME_BYTES
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import unpack

messages = st.binary(min_size=1, max_size=300)
cuts = st.integers(1, 120)


def pieces(message: bytes, frame_bytes: int = FRAME_BYTES) -> list[Frame]:
    return [unpack(payload, Frame) for payload in frames.split(message, frame_bytes)]


def frame_of(i: int, n: int, size: int, length: int, *, digest: bytes = bytes(32)) -> Frame:
    return Frame(id=digest, i=i, n=n, size=size, data=bytes(length))
