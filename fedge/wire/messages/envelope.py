"""The signed envelope around what the aggregator publishes."""

from typing import ClassVar

from pydantic import Field

from fedge.wire.messages.fields import PublicKey
from fedge.wire.messages.message import M, Message, Part, pack, unpack

MAX_SUCCESSIONS = 16
"""Changes of the signing key in an envelope; a device that missed more must be enrolled anew."""


class Succession(Part):
    """A change of the signing key, signed by the old key (see `fedge.identity.trust`)."""

    old: PublicKey
    new: PublicKey
    sig: bytes = Field(max_length=64)


class Signed(Message):
    """An envelope; signatures cover `fedge/v1/{federation}/{topic kind}` + NUL + body, byte for byte."""

    TYPE: ClassVar[str] = "signed"
    MAX_VALUES: ClassVar[int] = 2_048

    body: bytes
    sigs: tuple[bytes, ...] = Field(default=(), max_length=8, strict=False)
    """One valid signature is enough: others may be by keys, or of kinds, that this program does not know."""
    chain: tuple[Succession, ...] | None = Field(default=None, max_length=MAX_SUCCESSIONS, strict=False)
    """The changes that led to the signing key, oldest first; None: it was never changed."""


def seal(message: Message) -> bytes:
    """Pack a message into the signed envelope; the inverse of `unseal`."""
    return pack(Signed(body=pack(message)))


def unseal(payload: bytes, kind: type[M]) -> M:
    """Take one message of the expected kind out of the signed envelope.

    Raises:
        ProtocolError: as `unpack`, for the envelope or its content.
    """
    return unpack(unpack(payload, Signed).body, kind)
