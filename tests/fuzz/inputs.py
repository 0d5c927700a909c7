"""What the fuzzer sends: a few messages, as one string of bytes, and how they are changed.

The frames of a message carry its SHA-256, so changed bytes of frames alone would never be assembled. So a
step may also hold the message inside: the receivers cut it into frames, or announce it, themselves.
"""

import random
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from fedge.wire import encoding

RAW, WHOLE, ANNOUNCED = range(3)
"""The payload as it comes; a message to be cut into frames; a task or model to be announced."""
MAX_STEPS, MAX_LENGTH = 3, 2_000
_HEAD = struct.Struct(">BBI")

INTERESTING = (b"\xc1", b"\xc4\xff", b"\xc6\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff")
INTERESTING += (
    b"\xdf\xff\xff\xff\xff",
    b"\x91" * 9,
    b"\x80",
    b"\xc0",
    b"\xcb\x7f\xf8" + bytes(6),
    b"\xd4\x05\x00",
)
VALUES: Sequence[Any] = (
    None,
    True,
    0,
    -1,
    1,
    2**31,
    2**63,
    2**64 - 1,
    -(2**63),
    0.5,
    float("nan"),
    float("inf"),
)
VALUES += (
    float("nan"),
    float("inf"),
    "",
    "a/b",
    "+",
    "\u202e",
    "x" * 300,
    b"",
    bytes(31),
    bytes(33),
    [],
    {},
    [[]],
    {"a": 1},
    [0] * 300,
)


class Step(NamedTuple):
    """One message on its topic."""

    how: int
    topic: bytes
    payload: bytes


class Input(NamedTuple):
    """The state that the receivers begin with, by number, and what comes then."""

    variant: int
    steps: tuple[Step, ...]


def pack(given: Input) -> bytes:
    """The bytes of an input, as they are in the corpus."""
    parts = [bytes([given.variant])]
    for how, topic, payload in given.steps:
        parts += [_HEAD.pack(how, len(topic), len(payload)), topic, payload]
    return b"".join(parts)


def unpack(data: bytes) -> Input:
    """The inverse of `pack`."""
    at, steps = 1, []
    while at < len(data):
        how, topic, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        steps.append(Step(how, data[at : at + topic], data[at + topic : at + topic + length]))
        at += topic + length
    return Input(data[0], tuple(steps))


def changed(given: Input, other: Input, topics: Sequence[bytes], rng: random.Random) -> Input:
    """An input with one to four changes; some are taken from another one."""
    variant, steps = given.variant, list(given.steps)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(steps))
        how, topic, payload = steps[at]
        match rng.randrange(12):
            case 0:
                variant = rng.randrange(256)
            case 1:
                steps.insert(at, rng.choice(other.steps))
            case 2:
                steps.insert(rng.randrange(len(steps)), steps[at])
            case 3 if len(steps) > 1:
                del steps[at]
            case 4:
                steps[at] = Step(rng.randrange(3), topic, payload)
            case 5:
                steps[at] = Step(how, rng.choice([*topics, _bytes(topic, b"/", rng)]), payload)
            case 6 | 7 | 8:
                steps[at] = Step(how, topic, _value(payload, rng))
            case _:
                steps[at] = Step(how, topic, _bytes(payload, rng.choice(other.steps).payload, rng))
    kept = (Step(how, topic[:255], payload[:MAX_LENGTH]) for how, topic, payload in steps[:MAX_STEPS])
    return Input(variant, tuple(kept))


def _bytes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One change of the bytes alone."""
    at = rng.randint(0, len(data))
    match rng.randrange(6):
        case 0:
            return data[:at] + rng.randbytes(rng.randint(1, 4)) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[at + rng.randint(1, 8) :]
        case 3:
            return data[:at] + rng.choice(INTERESTING) + data[at + rng.randint(0, 4) :]
        case 4:
            return data[:at] + data[at : at + rng.randint(1, 64)] + data[at:]
        case _:
            return data[:at] + other[rng.randint(0, len(other)) :]


def _value(payload: bytes, rng: random.Random) -> bytes:
    """Another value in one place of a message; the bytes of something else are changed as bytes."""
    try:
        fields: Any = encoding.decode(payload)
    except ValueError:
        return _bytes(payload, payload, rng)
    inside, key = fields, None
    while isinstance(inside, dict | list) and inside and (key is None or rng.random() < 0.5):
        around, key = inside, rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        inside = around[key]
    if key is None:
        return payload
    match rng.randrange(4):
        case 0 if isinstance(around, dict):
            del around[key]
        case 1 if type(inside) is int:
            around[key] = max(-(2**63), min(2**64 - 1, inside + rng.choice((-1, 1, 2**16, 2**32))))
        case 1 if isinstance(inside, bytes):
            around[key] = _bytes(inside, inside, rng)
        case _:
            around[key] = rng.choice(VALUES)
    packed: bytes = msgpack.packb(fields, use_bin_type=True)
    return packed
