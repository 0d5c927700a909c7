"""Cut a big message into frames that fit any broker, and put it together again: pure, resumable, checked.

The id of a message, and of all its frames, is the SHA-256 of its bytes. All frames but the last hold the same
number of bytes. So a single frame shows how the whole is cut, and a frame that would overlap or leave a gap
contradicts it. Frames may arrive in any order and more than once.

`offer` records which frames of one message have arrived, and keeps no bytes: it is for a receiver that spools
frames to disk. `fedge.wire.assembly` keeps the bytes too, within limits.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

from fedge.wire import encoding
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_FRAMES, MAX_SIZE
from fedge.wire.messages.frame import Asked, Frame
from fedge.wire.messages.message import pack, unpack
from fedge.wire.reasons import Reason, Rejection

FRAME_BYTES = encoding.MAX_PAYLOAD - 2_048
"""Data bytes in a frame; the rest of the payload is for the frame's own fields (82 bytes) and future ones."""

FRAME_HEAD = 115
"""The most bytes of a packed frame besides its data: its fields at their widest, and a question."""
LEAST_FRAME = 1_024
"""No frame but the last holds less data, whatever the limits are: the transport then refuses to send it."""

FRAME_COST = 512
"""Bytes charged for a frame besides its data, so that a flood of tiny frames is bounded too."""


def frame_bytes(size: int, room: int) -> int:
    """The data bytes in a frame of a message of `size` bytes, where a payload has at most `room` bytes.

    It is as much as fits, and no more than `FRAME_BYTES`. If `room` is so small that the message would take
    more than `MAX_FRAMES` frames, or frames of less than `LEAST_FRAME`, the frames are larger than `room`.
    """
    return min(FRAME_BYTES, max(LEAST_FRAME, room - FRAME_HEAD, -(-size // MAX_FRAMES)))


def count(size: int, frame_bytes: int = FRAME_BYTES) -> int:
    """The number of frames of a message of `size` bytes.

    Raises:
        ValueError: the message is empty, or takes more frames than a message may have.
    """
    if size < 1 or frame_bytes < 1:
        raise ValueError(f"a message and its frames have at least 1 byte, got {size} and {frame_bytes}")
    n = -(-size // frame_bytes)
    if n > MAX_FRAMES or size > MAX_SIZE:
        raise ValueError(
            f"a message of {size} bytes takes {n} frames of {frame_bytes} bytes; "
            f"at most {MAX_FRAMES} frames and {MAX_SIZE} bytes are allowed"
        )
    return n


def cut(size: int, most: int, frames: int = 1) -> int:
    """The data bytes in each frame, at most `most`, of a message that is cut into at least so many frames.

    The result depends on the size and the number of the frames alone. So who knows the number of frames that
    are there, and gets no larger one, cuts them again as they are.

    Raises:
        ValueError: as `count`.
    """
    coarsest = count(size, FRAME_BYTES)
    for n in range(max(frames, count(size, most)), MAX_FRAMES + 1):
        each = FRAME_BYTES if n == coarsest else -(-size // n)
        if min(each, size) <= most and count(size, each) == n:
            return each
    return most


class Split(Sequence[bytes]):
    """The packed frames of one message, each made on demand, so that the message is never copied whole."""

    def __init__(self, message: bytes | memoryview, frame_bytes: int | None = None) -> None:
        self._message = memoryview(message)
        self._frame_bytes = frame_bytes or FRAME_BYTES
        self._n = count(len(message), self._frame_bytes)

    @property
    def message(self) -> memoryview:
        """The whole message."""
        return self._message

    @property
    def frame_bytes(self) -> int:
        """The data bytes in each frame but the last."""
        return self._frame_bytes

    @cached_property
    def id(self) -> bytes:
        """SHA-256 of the message."""
        return hashlib.sha256(self._message).digest()

    def __len__(self) -> int:
        return self._n

    @overload
    def __getitem__(self, i: int) -> bytes: ...
    @overload
    def __getitem__(self, i: slice) -> list[bytes]: ...
    def __getitem__(self, i: int | slice) -> bytes | list[bytes]:
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(self._n))]
        i = range(self._n)[i]
        data = self._message[i * self._frame_bytes : (i + 1) * self._frame_bytes]
        return pack(Frame(id=self.id, i=i, n=self._n, size=len(self._message), data=bytes(data)))


def split(message: bytes | memoryview, frame_bytes: int | None = None) -> Split:
    """Cut a message into packed frames, to be published one by one; `FRAME_BYTES` each unless told.

    Raises:
        ValueError: as `count`.
    """
    return Split(message, frame_bytes)


def frame(message: bytes, i: int, frame_bytes: int = FRAME_BYTES) -> bytes:
    """Frame `i` of a message, packed. It hashes the message: for several frames of one, keep its `split`.

    Raises:
        ValueError: as `count`.
        IndexError: the message has no frame `i`.
    """
    return split(message, frame_bytes)[i]


def asking(frame: bytes, round_id: RoundId) -> bytes:
    """A packed frame of an update, with the question for its verdict in a round that is over."""
    asked = Asked(generation=round_id.generation, round=round_id.round)
    return pack(unpack(frame, Frame).model_copy(update={"asks": asked}))


@dataclass(frozen=True)
class Partial:
    """The record of a message some of whose frames have arrived, without its bytes."""

    id: bytes
    n: int
    size: int
    frame_bytes: int
    """Bytes in each frame but the last."""
    have: int = 0
    """Bit i is set when frame i has arrived."""

    @property
    def complete(self) -> bool:
        """Whether every frame has arrived; only `join` checks the bytes."""
        return self.have == (1 << self.n) - 1

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the frames still to come."""
        return tuple(i for i in range(self.n) if not self.have >> i & 1)


def offer(partial: Partial | None, frame: Frame) -> Partial | Rejection:
    """Record a frame; `partial` is the record of its message so far, None if there is none.

    A frame that has already arrived changes nothing, and the same `partial` is returned.
    """
    frame_bytes = _frame_bytes(frame)
    if frame_bytes is None:
        return Rejection(
            Reason.MALFORMED,
            f"frame {frame.i} with {len(frame.data)} bytes: {frame.size} bytes are not cut into {frame.n} "
            "frames like that, all but the last of one length",
        )
    cut = (frame.id, frame.n, frame.size, frame_bytes)
    if partial is None:
        partial = Partial(*cut)
    elif (partial.id, partial.n, partial.size, partial.frame_bytes) != cut:
        return Rejection(
            Reason.MALFORMED,
            f"frame {frame.i} is of {frame.size} bytes in {frame.n} frames of {frame_bytes}, the frames "
            f"before it of {partial.size} in {partial.n} of {partial.frame_bytes}, or of another message",
        )
    bit = 1 << frame.i
    return partial if partial.have & bit else Partial(*cut, partial.have | bit)


def is_cut_anew(partial: Partial, frame: Frame) -> bool:
    """Whether the frame is of the same message as `partial`, in another cut: its sender's limit has changed.

    Frames of two cuts do not fit together. What has arrived of the former one is of no use.
    """
    if (frame.id, frame.size) != (partial.id, partial.size):
        return False
    return _frame_bytes(frame) is not None and isinstance(offer(partial, frame), Rejection)


def _frame_bytes(frame: Frame) -> int | None:
    """The bytes in each frame but the last, derived from this one; None if no cut gives such a frame."""
    length, others = len(frame.data), frame.n - 1
    if frame.i < others:
        fits = others * length < frame.size <= frame.n * length
        return length if fits else None
    if others == 0:
        return length if length == frame.size else None
    each, left_over = divmod(frame.size - length, others)
    return each if left_over == 0 and each >= length else None


def join(id: bytes, pieces: Iterable[bytes]) -> bytes | Rejection:  # noqa: A002
    """Join the data of all frames, in their order, and check the digest before anything reads the message."""
    message = b"".join(pieces)
    if hashlib.sha256(message).digest() == id:
        return message
    return Rejection(
        Reason.MALFORMED,
        f"the frames of {id.hex()[:16]}… do not add up to their digest; all of them were dropped",
    )


def cost(size: int, n: int) -> int:
    """The charge for an incomplete message of `size` bytes in `n` frames, from its first frame on."""
    return size + n * FRAME_COST
