"""The aggregator's answer to an update."""

from functools import lru_cache
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from fedge.wire.messages.fields import (
    MAX_FRAMES,
    Counter,
    Detail,
    Digest,
    Generation,
    Seconds,
    WireReason,
)
from fedge.wire.messages.message import Message, pack


class Receipt(Message):
    """The aggregator's answer to one update; only a receipt says that the update counts."""

    TYPE: ClassVar[str] = "receipt"
    MAX_VALUES: ClassVar[int] = MAX_FRAMES + 256

    generation: Generation
    round: Counter
    update: Digest
    verdict: Literal["admitted", "refused", "retry"]
    reason: WireReason | None = None
    detail: Detail = ""
    after_s: Seconds = 0.0
    """How long to wait before the next try."""
    missing: tuple[Annotated[int, Field(ge=0, lt=MAX_FRAMES)], ...] = Field(
        default=(), max_length=MAX_FRAMES, strict=False
    )
    """With `retry`: the missing frames; if none are named, send frame 0 again later."""

    @model_validator(mode="after")
    def _check(self) -> "Receipt":
        if self.verdict == "refused" and self.reason is None:
            raise ValueError("a refusal names its reason")
        if self.verdict != "retry" and self.missing:
            raise ValueError(f"frames are missing, and yet the update is {self.verdict}")
        return self


def pack_receipt(receipt: Receipt) -> bytes:
    """As `pack`; receipts that say no more than that an update is admitted differ only in its digest."""
    if (
        receipt.verdict != "admitted"
        or receipt.reason
        or receipt.detail
        or receipt.after_s
        or receipt.missing
    ):
        return pack(receipt)
    before, after = _around_digest(receipt.generation, receipt.round)
    return before + receipt.update + after


@lru_cache(maxsize=16)
def _around_digest(generation: int, round_: int) -> tuple[bytes, bytes]:
    """What is before and after the digest in a receipt that says no more than that."""
    digest = bytes(32)  # 32 zeros are nowhere else in it
    packed = pack(Receipt(generation=generation, round=round_, update=digest, verdict="admitted"))
    before, _, after = packed.partition(digest)
    return before, after
