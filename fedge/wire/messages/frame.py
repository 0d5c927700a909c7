"""The frames of a big message, and the place of a retained one."""

import re
from typing import ClassVar

from pydantic import Field, model_validator

from fedge.wire.encoding import MAX_PAYLOAD
from fedge.wire.messages.fields import MAX_FRAMES, MAX_SIZE, Counter, Digest, Generation
from fedge.wire.messages.message import Message, Part, unpack, validated
from fedge.wire.packed import LENGTH, NUMBER, number


class Blob(Part):
    """The place of a framed, retained message: its digest, slot, and number of frames."""

    digest: Digest
    slot: int = Field(ge=0, le=1)
    frames: int = Field(ge=1, le=MAX_FRAMES)
    size: int = Field(ge=1, le=MAX_SIZE)

    @model_validator(mode="after")
    def _check(self) -> "Blob":
        if self.size < self.frames:
            raise ValueError(f"{self.size} bytes cannot fill {self.frames} frames")
        return self


class Asked(Part):
    """The round that a question is about."""

    generation: Generation
    round: Counter


class Frame(Message):
    """One piece of a big message, small enough for any broker (see `fedge.wire.frames`)."""

    TYPE: ClassVar[str] = "frame"

    id: Digest
    i: int = Field(ge=0, lt=MAX_FRAMES)
    n: int = Field(ge=1, le=MAX_FRAMES)
    size: int = Field(ge=1, le=MAX_SIZE)
    data: bytes = Field(min_length=1)
    asks: Asked | None = None
    """Asks for the verdict on an update of a round that is over; None: no question."""

    @model_validator(mode="after")
    def _check(self) -> "Frame":
        if self.i >= self.n or self.size < self.n or len(self.data) > self.size:
            raise ValueError(
                f"frame {self.i} of {self.n} with {len(self.data)} of {self.size} bytes cannot be"
            )
        return self


_HEAD = b"\x87\xa1v\x01\xa4type\xa5frame\xa2id\xc4\x20"
"""How `pack` begins a frame that asks nothing: seven pairs, version, type, and an id of 32 bytes."""
_PACKED = re.compile(
    re.escape(_HEAD)
    + rb"(.{32})\xa1i" + NUMBER + rb"\xa1n" + NUMBER + rb"\xa4size" + NUMBER
    + rb"\xa4data" + LENGTH,
    re.DOTALL,
)  # fmt: skip


def id_of(payload: bytes) -> bytes | None:
    """The id of a frame as `pack` writes it, without a look at the rest; None: it begins differently."""
    return payload[len(_HEAD) : len(_HEAD) + 32] if payload.startswith(_HEAD) else None


def unpack_frame(payload: bytes) -> Frame:
    """As `unpack` of a frame, in a quarter of the time if it is written as `pack` writes it.

    Raises:
        ProtocolError: as `unpack`.
    """
    found = _PACKED.match(payload)
    if found is not None and len(payload) <= MAX_PAYLOAD:
        id_, i, n, size, *lengths = found.groups()
        data = payload[found.end() :]
        if len(data) == int.from_bytes(next(filter(None, lengths)), "big"):
            fields = {"id": id_, "i": number(i), "n": number(n), "size": number(size), "data": data}
            return validated(Frame, fields)
    return unpack(payload, Frame)
