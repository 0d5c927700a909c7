"""A big message ↔ frames that fit any broker: pure, resumable, digest-checked.

The id of a message, and of all its frames, is the SHA-256 of its bytes. Every frame but the last holds the
same number of bytes, so a single frame tells how the whole is cut, and any frame that would overlap or
leave a gap contradicts it. Frames may come in any order and more than once.

Receiving has two layers: `offer` keeps the books of one message, and holds no bytes, for a receiver that
spools frames to disk; `Assembler` holds the bytes as well, within limits, for one that needs no spool.
"""

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import overload

from fedge.wire import encoding
from fedge.wire.messages.fields import MAX_FRAMES, MAX_SIZE
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import pack
from fedge.wire.reasons import Reason, Rejection

FRAME_BYTES = encoding.MAX_PAYLOAD - 2_048
"""Data bytes in a frame; what is left of the payload holds the frame's own fields (82 bytes) and new ones."""


def count(size: int, frame_bytes: int = FRAME_BYTES) -> int:
    """How many frames a message of `size` bytes takes.

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


class Split(Sequence[bytes]):
    """The packed frames of one message, each made when it is asked for: the message is never copied whole."""

    def __init__(self, message: bytes, frame_bytes: int | None = None) -> None:
        self._message = memoryview(message)
        self._frame_bytes = frame_bytes or FRAME_BYTES
        self._n = count(len(message), self._frame_bytes)

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


def split(message: bytes, frame_bytes: int | None = None) -> Split:
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


@dataclass(frozen=True)
class Partial:
    """What is known of a message of which frames have come: its books, without its bytes."""

    id: bytes
    n: int
    size: int
    frame_bytes: int
    """Bytes in each frame but the last."""
    have: int = 0
    """Bit i is set when frame i has come."""

    @property
    def complete(self) -> bool:
        """Whether every frame has come; whether the bytes are right, only `join` can tell."""
        return self.have == (1 << self.n) - 1

    @property
    def missing(self) -> tuple[int, ...]:
        """The numbers of the frames still to come."""
        return tuple(i for i in range(self.n) if not self.have >> i & 1)


def offer(partial: Partial | None, frame: Frame) -> Partial | Rejection:
    """Enter a frame in the books: `partial` is what its message had before, None if nothing.

    A frame that has come already changes nothing, and the same `partial` is returned.
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


def _frame_bytes(frame: Frame) -> int | None:
    """The bytes in each frame but the last, as this one tells it; None if no cut gives such a frame."""
    length, others = len(frame.data), frame.n - 1
    if frame.i < others:
        fits = others * length < frame.size <= frame.n * length
        return length if fits else None
    if others == 0:
        return length if length == frame.size else None
    each, left_over = divmod(frame.size - length, others)
    return each if left_over == 0 and each >= length else None


def join(id: bytes, pieces: Iterable[bytes]) -> bytes | Rejection:  # noqa: A002
    """Put the data of all frames together, in their order, and check the digest before anybody reads it."""
    message = b"".join(pieces)
    if hashlib.sha256(message).digest() == id:
        return message
    return Rejection(
        Reason.MALFORMED,
        f"the frames of {id.hex()[:16]}… do not add up to their digest; all of them were dropped",
    )


@dataclass(frozen=True)
class Limits:
    """What an `Assembler` may hold of messages that are not complete, in bytes."""

    per_key: int
    total: int


FRAME_COST = 512
"""Bytes charged for a frame beside its data, so that a flood of tiny ones is bounded as well."""


@dataclass
class _Held:
    books: Partial
    pieces: dict[int, bytes] = field(default_factory=dict)

    @property
    def cost(self) -> int:
        return cost(self.books.size, self.books.n)


def cost(size: int, n: int) -> int:
    """What an incomplete message of `size` bytes in `n` frames is charged, from its first frame on."""
    return size + n * FRAME_COST


class Assembler:
    """Puts messages together in memory, from frames of several senders or topics (`key`) mixed.

    The room for a whole message is set aside with its first frame: whatever was begun can be completed, and
    what does not fit is refused at once and not half-way.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: dict[Hashable, dict[bytes, _Held]] = {}
        self._room_taken: Counter[Hashable] = Counter()

    @property
    def held(self) -> int:
        """Bytes set aside, for all keys."""
        return self._room_taken.total()

    def offer(self, key: Hashable, frame: Frame) -> bytes | Rejection | None:
        """Take a frame: the whole message if this was the last missing one and the digest is right.

        None means that frames are still missing. With a wrong digest all that is held of the message is
        dropped and the refusal says so: one of its frames was forged, and nobody can say which.
        """
        held = self._held.get(key, {}).get(frame.id)
        books = offer(held.books if held is not None else None, frame)
        if isinstance(books, Rejection):
            return books
        if held is None:
            held = _Held(books)
            if (refused := self._no_room(key, held.cost)) is not None:
                return refused
            self._held.setdefault(key, {})[frame.id] = held
            self._room_taken[key] += held.cost
        held.books = books
        held.pieces.setdefault(frame.i, frame.data)
        if not books.complete:
            return None
        self._forget(key, frame.id)
        return join(books.id, (held.pieces[i] for i in range(books.n)))

    def count(self, key: Hashable, id: bytes) -> int:  # noqa: A002
        """How many frames of a message are held while others are missing."""
        held = self._held.get(key, {}).get(id)
        return len(held.pieces) if held is not None else 0

    def missing(self, key: Hashable, id: bytes) -> tuple[int, ...] | None:  # noqa: A002
        """The frames still to come of a message; None if nothing of it is held."""
        held = self._held.get(key, {}).get(id)
        return held.books.missing if held is not None else None

    def drop(self, key: Hashable) -> None:
        """Forget all that is held for `key`: its round has closed, or something newer is wanted."""
        self._held.pop(key, None)
        del self._room_taken[key]

    def _forget(self, key: Hashable, id: bytes) -> None:  # noqa: A002
        self._room_taken[key] -= self._held[key].pop(id).cost
        if not self._held[key]:
            self.drop(key)

    def _no_room(self, key: Hashable, needed: int) -> Rejection | None:
        for whose, room in (("one sender", self._limits.per_key), ("all senders", self._limits.total)):
            if needed > room:
                return Rejection(
                    Reason.OVERSIZE, f"a message that takes {needed} bytes; {whose} may hold {room}"
                )
        if self._room_taken[key] + needed > self._limits.per_key or self.held + needed > self._limits.total:
            return Rejection(
                Reason.TOO_MANY_PARTIAL,
                f"no room for {needed} bytes while {self.held} are held for messages that are not complete",
            )
        return None
