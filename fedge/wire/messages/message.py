"""The base of all messages: one msgpack map `{"v": 1, "type": ...}`, decoded strictly.

Unknown fields are ignored, so fields may be added within v1; wrong types and values are refused.
"""

import reprlib
from collections.abc import Collection
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from fedge.errors import ProtocolError
from fedge.wire import encoding
from fedge.wire.reasons import Reason

VERSION = 1


class Part(BaseModel):
    """The parent of all parts of messages: frozen, strict about types; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, defer_build=True)


class Message(Part):
    """The parent of all messages."""

    TYPE: ClassVar[str]
    """The name on the wire."""
    MAX_VALUES: ClassVar[int] = 256
    """The most values in it, keys and those of unknown fields included. What has more is refused before it is
    decoded: to walk over many values takes 400 times as long as to read a body of as many bytes."""


M = TypeVar("M", bound=Message)


def pack(message: Message) -> bytes:
    """Encode a message; the inverse of `unpack`."""
    return encoding.encode({"v": VERSION, "type": message.TYPE, **message.model_dump(exclude_none=True)})


def unpack(payload: bytes, kind: type[M], *, max_bytes: int = encoding.MAX_PAYLOAD) -> M:
    """Decode one message of the expected kind.

    Raises:
        ProtocolError: too large, not msgpack, another version or type, or a field of the wrong kind; its
            `reason` is OVERSIZE, UNKNOWN_VERSION or MALFORMED.
    """
    return unpack_one_of(payload, (kind,), max_bytes=max_bytes)


def unpack_one_of(payload: bytes, kinds: Collection[type[M]], *, max_bytes: int = encoding.MAX_PAYLOAD) -> M:
    """Decode one message of any of these kinds, by its `type`.

    Raises:
        ProtocolError: as `unpack`.
    """
    max_values = max(kind.MAX_VALUES for kind in kinds)
    fields = encoding.decode(payload, max_bytes=max_bytes, max_values=max_values)
    version, found = fields.pop("v", None), fields.pop("type", None)
    if type(version) is int and version == VERSION:
        for kind in kinds:
            if found == kind.TYPE:
                return validated(kind, fields)
    expected = " or ".join(kind.TYPE for kind in kinds)
    if type(version) is not int:
        raise ProtocolError(f"{expected}: 'v' is {reprlib.repr(version)}, expected the protocol's version")
    if version != VERSION:
        raise ProtocolError(
            f"protocol version {version}: this program speaks version {VERSION}", Reason.UNKNOWN_VERSION
        )
    raise ProtocolError(f"a message of type {reprlib.repr(found)} where {expected!r} was expected")


def validated(kind: type[M], fields: dict[str, Any]) -> M:
    """Make a message of decoded fields.

    Raises:
        ProtocolError: a field is of the wrong kind (reason MALFORMED).
    """
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        what = first["msg"].removeprefix("Value error, ")
        # `where` may contain a key chosen by the sender; the text goes into logs and receipts.
        raise ProtocolError(f"{kind.TYPE}: {where[:100]}: {what[:300]}") from None
