"""The frames of a big message, and the place of a retained one."""

from typing import ClassVar

from pydantic import Field, model_validator

from fedge.wire.messages.fields import MAX_FRAMES, MAX_SIZE, Counter, Digest, Generation
from fedge.wire.messages.message import Message, Part


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
