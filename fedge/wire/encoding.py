"""msgpack with every limit set: one map of plain values ↔ bytes; hostile bytes → `ProtocolError`.

The decoder allocates an array before it has read its elements, and a list or a map takes 60 times the byte
it is written in. So a first pass checks the structure alone, without allocating, and only a message that
passes is decoded. The limits on structure do not grow with `max_bytes`: a big message is big because of one
value, its `body`. So the decoded values besides the bytes themselves take less than some 15 MB.

Format: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgpack

from fedge.errors import ProtocolError
from fedge.wire.reasons import Reason

MAX_PAYLOAD = 131_072
"""Bytes of the largest MQTT payload we send or read: AWS IoT Core's limit, the smallest of the big clouds."""
LEAST_PAYLOAD = 4_096
"""Bytes of the smallest limit on payloads that Fedge works with: a status, a manifest and a receipt are not
cut into frames, and are seldom larger."""

MAX_DEPTH = 8
"""Containers within containers; our deepest message, a task, has 4."""
MAX_CONTAINERS = 256
"""Maps and arrays in a message; our largest, a task of 64 layers, has some 70."""
MAX_LENGTH = 65_536
"""Elements of an array, pairs of a map, bytes of a text; our longest list is the names of the features."""
MAX_VALUES = 2 * MAX_LENGTH + 4_096
"""Values of any kind in a task: features and classes at their longest, and the rest. Other kinds of messages
have fewer (`Message.MAX_VALUES`)."""


class _Header(NamedTuple):
    """The meaning of the first byte of a value."""

    kind: Literal["scalar", "text", "bin", "array", "map", "refused"]
    width: int
    """Bytes of the length field that follows."""
    length: int
    """The length, where it needs no field: elements of an array, pairs of a map, else bytes to skip."""


def _header(first: int) -> _Header:
    if first <= 0x7F or first >= 0xE0 or first in (0xC0, 0xC2, 0xC3):
        return _Header("scalar", 0, 0)
    if first <= 0x8F:
        return _Header("map", 0, first & 0x0F)
    if first <= 0x9F:
        return _Header("array", 0, first & 0x0F)
    if first <= 0xBF:
        return _Header("text", 0, first & 0x1F)
    if first in (0xCA, 0xCB):
        return _Header("scalar", 0, 4 << (first - 0xCA))
    if 0xCC <= first <= 0xD3:
        return _Header("scalar", 0, 1 << (first & 0x03))
    if 0xC4 <= first <= 0xC6:
        return _Header("bin", 1 << (first - 0xC4), 0)
    if 0xD9 <= first <= 0xDB:
        return _Header("text", 1 << (first - 0xD9), 0)
    if first in (0xDC, 0xDD):
        return _Header("array", 2 << (first - 0xDC), 0)
    if first in (0xDE, 0xDF):
        return _Header("map", 2 << (first - 0xDE), 0)
    return _Header("refused", 0, 0)  # extension types, timestamps among them, and the unused 0xc1


_HEADERS = tuple((kind, width, length) for kind, width, length in map(_header, range(256)))
"""Plain tuples, which unpack twice as fast as named ones."""
_STEPS = tuple(
    0 if kind in ("array", "map", "refused") or (width and kind != "scalar") else 1 + width + length
    for kind, width, length in _HEADERS
)
"""The bytes that a value takes, by its first one, where that alone tells; 0: it does not."""


def encode(fields: Mapping[str, Any]) -> bytes:
    """Write one map of plain values.

    Raises:
        ProtocolError: a value that cannot be encoded: an integer beyond 64 bits, or no plain value.
    """
    try:
        payload: bytes = msgpack.packb(fields, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"cannot be encoded: {error}") from None
    return payload


def decode(
    payload: bytes | bytearray | memoryview, *, max_bytes: int = MAX_PAYLOAD, max_values: int = MAX_VALUES
) -> dict[str, Any]:
    """Read one map with text keys, all of it: the inverse of `encode`. Arrays come as lists.

    Args:
        payload: what arrived.
        max_bytes: the largest payload accepted; above `MAX_PAYLOAD` only for messages assembled from frames.
        max_values: the most values of any kind, keys included. Each costs more time than a byte of a body.

    Raises:
        ProtocolError: more than `max_bytes` (reason OVERSIZE); otherwise MALFORMED: cut short, trailing
            bytes, not a map, keys that are not text or occur twice, text that is not UTF-8, extension
            types, or more structure than any message has.
    """
    if len(payload) > max_bytes:
        raise ProtocolError(
            f"a message of {len(payload)} bytes, more than the {max_bytes} allowed", Reason.OVERSIZE
        )
    _check_structure(payload, max_values)
    try:
        fields = msgpack.unpackb(
            payload,
            raw=False,
            unicode_errors="strict",
            strict_map_key=True,
            object_pairs_hook=_map,
            max_str_len=MAX_LENGTH,
            max_bin_len=max_bytes,
            max_array_len=MAX_LENGTH,
            max_map_len=MAX_LENGTH,
            max_ext_len=0,
        )
    except ProtocolError:
        raise
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a text that is not UTF-8: {error.reason}") from None
    except ValueError as error:
        raise ProtocolError(f"not msgpack as we write it: {error}") from None
    if not isinstance(fields, dict):
        raise ProtocolError(f"a message is a map, got {type(fields).__name__}")
    return fields


_TEXT = frozenset({str})


def _map(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ProtocolError("a map that holds the same key twice")
    if not _TEXT.issuperset(map(type, fields)):
        (kind, *_) = (type(key).__name__ for key in fields if type(key) is not str)
        raise ProtocolError(f"a map key that is {kind}, not text")
    return fields


def _check_structure(payload: bytes | bytearray | memoryview, max_values: int) -> None:
    """Walk over the headers of all values, without allocating what they announce."""
    end = len(payload)
    at = containers = 0
    values = left = 1  # announced; still to come in this container. The message itself is the first
    around: list[int] = []  # still to come in the containers around it
    while left or around:
        if not left:
            left = around.pop()
            continue
        left -= 1
        if at < end and (step := _STEPS[payload[at]]) and at + step <= end:  # most values
            at += step
            continue
        if at >= end:
            raise ProtocolError(f"cut short: {end} bytes, and a value is still to come")
        start = at
        kind, width, length = _HEADERS[payload[at]]
        at += 1 + width
        if kind == "scalar":
            at += length
            continue  # where the message ends within it, the next value or the end tells
        if width:
            if at > end:
                raise ProtocolError(f"cut short: {end} bytes end within the {kind} at byte {start}")
            length = int.from_bytes(payload[start + 1 : at], "big")
        if kind == "array" or kind == "map":
            containers += 1
            if containers > MAX_CONTAINERS:
                raise ProtocolError(f"more than {MAX_CONTAINERS} maps and arrays in a message")
            if len(around) >= MAX_DEPTH:
                raise ProtocolError(f"nested deeper than {MAX_DEPTH} at byte {start}")
            if length > MAX_LENGTH:
                raise ProtocolError(f"{kind} of {length} at byte {start}, more than the {MAX_LENGTH} allowed")
            around.append(left)
            left = 2 * length if kind == "map" else length
            values += left
            if values > max_values:
                raise ProtocolError(f"more than {max_values} values in a message")
        elif kind == "refused":
            raise ProtocolError(
                f"an extension type or unused code at byte {start}: only plain values are read"
            )
        else:
            at += length
            if at > end:
                raise ProtocolError(
                    f"cut short: the {kind} at byte {start} ends at {at}, the message at {end}"
                )
    if at > end:
        raise ProtocolError(f"cut short: {end} bytes end within the scalar at byte {start}")
    if at != end:
        raise ProtocolError(f"{end - at} trailing bytes after the message, which ends at byte {at}")
