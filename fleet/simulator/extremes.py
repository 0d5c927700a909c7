"""The extreme values of each field that a device may write: 0, ±1, the largest, NaN, just inside and beyond.

They are derived from the limits in `fedge.wire.messages`, so that a new field there has extremes without a
change here.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from fedge.wire.messages.fields import MAX_REASON
from fedge.wire.messages.frame import Frame
from fedge.wire.messages.message import Message

LOWEST, HIGHEST = -(2**63), 2**64 - 1
"""The smallest and largest whole numbers that msgpack can encode."""
LARGEST, SMALLEST = 1.7976931348623157e308, 5e-324
UNBOUNDED = 4_000
"""The size in bytes used for a value without a limit of its own."""
TEXTS = (
    *("a", "d0", "z" * 31, "z" * 32, "z" * 36, "z" * 37, "z" * 40, "z" * 41, "9-" + "-" * 34, "float32"),
    *("delta", "survey"),
    *("codec:float32", "z" * 20 + ":" + "z" * 80, "z" * 21 + ":z", "", "d/0", "+", "#", "\x00", "Ä"),
)
"""Texts of which some match the pattern of a name."""
METRICS = (
    "loss_before",
    "loss_after",
    "accuracy_before",
    "accuracy_after",
    "held_out",
    "held_loss_before",
    "partial",
    "received_bytes",
    "sent_bytes",
)
"""The metrics of an update that the aggregator reads."""
SINGLES = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    3.4028235e38,
    -3.4028235e38,
    1e-45,
    float("nan"),
    float("inf"),
    float("-inf"),
)
"""Extreme entries of a vector."""
DOUBLES = (0.0, 1.0, -1.0, 20.0, 1e30, LARGEST, -LARGEST, SMALLEST, float("nan"), float("inf"), float("-inf"))
"""Extreme entries of a survey."""


@dataclass(frozen=True)
class Extreme:
    """A value for one field; `inside`: it is within the limits of the messages, even if it is absurd."""

    field: str
    value: Any
    inside: bool


@cache
def extremes(kind: type[Message]) -> tuple[Extreme, ...]:
    """All extremes of all fields of this kind of message."""
    schema = kind.model_json_schema()
    known, found = schema.get("$defs", {}), []
    for field, limits in schema["properties"].items():
        values = [*_CONTENTS.get((kind.TYPE, field), ()), *_values(limits, known)]
        found += [Extreme(field, value, inside) for value, inside in values]
    return tuple(found)


def frames(honest: Frame) -> Iterator[Extreme]:
    """The extremes of a frame's fields, which must also be consistent with each other."""
    fields = honest.model_dump()
    for extreme in extremes(Frame):
        said = {**fields, extreme.field: extreme.value}
        yield Extreme(extreme.field, extreme.value, extreme.inside and _can_be(said))


def _can_be(frame: Mapping[str, Any]) -> bool:
    size: int = frame["size"]
    return frame["i"] < frame["n"] <= size and len(frame["data"]) <= size


def _values(limits: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[tuple[Any, bool]]:
    """Values at the limits of one field's JSON schema, and whether each is within them."""
    if "anyOf" in limits:
        for each in limits["anyOf"]:
            yield from _values(each, known)
    elif "$ref" in limits:
        name = limits["$ref"].rpartition("/")[2]
        if name == "Reason":  # a reason that a later version adds to v1 is valid
            yield from (("new" * 13, True), ("x" * (MAX_REASON + 1), False))
        yield from _values(known[name], known)
    elif "const" in limits or "enum" in limits:
        yield from ((value, True) for value in limits.get("enum", [limits.get("const")]))
        yield 0, False
    else:
        yield from _KINDS[limits["type"]](limits, known)


def _booleans(_limits: Mapping[str, Any], _known: Mapping[str, Any]) -> Iterator[tuple[Any, bool]]:
    yield from ((True, True), (False, True), (2, False), ("true", False))


def _nothing(_limits: Mapping[str, Any], _known: Mapping[str, Any]) -> Iterator[tuple[Any, bool]]:
    yield None, True


def _whole(limits: Mapping[str, Any], _known: Mapping[str, Any]) -> Iterator[tuple[Any, bool]]:
    low = limits.get("minimum", LOWEST)
    high = limits.get("maximum", limits.get("exclusiveMaximum", HIGHEST + 1) - 1)
    for value in dict.fromkeys(
        (0, 1, -1, low, low + 1, high - 1, high, low - 1, high + 1, 2**31 - 1, 2**62, LOWEST, HIGHEST)
    ):
        if LOWEST <= value <= HIGHEST:
            yield value, low <= value <= high
    yield from ((float("nan"), False), ("1", False), (True, False))


def _numbers(limits: Mapping[str, Any], _known: Mapping[str, Any]) -> Iterator[tuple[Any, bool]]:
    low, high = limits.get("minimum", -LARGEST), limits.get("maximum", LARGEST)
    for value in dict.fromkeys((0.0, 1.0, -1.0, SMALLEST, low, high, LARGEST, -LARGEST)):
        yield value, low <= value <= high
    yield from ((float("nan"), False), (float("inf"), False), (float("-inf"), False))


def _texts(limits: Mapping[str, Any], _known: Mapping[str, Any]) -> Iterator[tuple[Any, bool]]:
    low, high = limits.get("minLength", 0), limits.get("maxLength")
    if limits.get("format") == "binary":
        for size in dict.fromkeys((low, high or UNBOUNDED)):
            yield from ((bytes(size), True), (b"\xff" * size, True))
        if low:
            yield bytes(low - 1), False
        if high is not None:
            yield bytes(high + 1), False
        yield 0, False
    elif "pattern" in limits:
        fits = re.compile(limits["pattern"])
        yield from (
            (text, bool(fits.search(text)) and len(text) <= limits.get("maxLength", len(text)))
            for text in TEXTS
        )
    else:
        size = high if high is not None else UNBOUNDED
        yield from (("x" * size, True), ("\U0001f600" * size, True), ("\x00" * size, True), ("x" * low, True))
        if high is not None:
            yield "x" * (high + 1), False
        yield b"x", False


def _objects(limits: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[tuple[Any, bool]]:
    if "properties" not in limits:
        yield from _tables(limits, known)
        return
    usual = {field: next(_inside(part, known)) for field, part in limits["properties"].items()}
    for field, part in limits["properties"].items():
        for value, inside in _values(part, known):
            yield {**usual, field: value}, inside
    yield {}, False


def _tables(limits: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[tuple[Any, bool]]:
    most = limits["maxProperties"]
    ((names, part),) = limits["patternProperties"].items()
    longest = max((text for text in TEXTS if re.search(names, text)), key=len)
    yield {}, limits.get("minProperties", 0) == 0
    for value, inside in _values(part, known):
        yield from (({name: value}, inside) for name in METRICS)
        yield {f"{longest[:-2]}{i:02}": value for i in range(most)}, inside
    some = next(_inside(part, known))
    yield {f"x{i}": some for i in range(most + 1)}, False
    yield from (({text: some}, False) for text in TEXTS if not re.search(names, text))


def _lists(limits: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[tuple[Any, bool]]:
    most = limits.get("maxItems", UNBOUNDED)
    yield [], limits.get("minItems", 0) == 0
    for value, inside in _values(limits["items"], known):
        yield [value], inside
    some = next(_inside(limits["items"], known))
    yield [some] * (most + 1), False


def _inside(limits: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[Any]:
    return (value for value, inside in _values(limits, known) if inside)


_KINDS = {
    "boolean": _booleans,
    "null": _nothing,
    "integer": _whole,
    "number": _numbers,
    "string": _texts,
    "object": _objects,
    "array": _lists,
}


def _vectors() -> Iterator[tuple[bytes, bool]]:
    """Bodies of an update of four weights: with all entries extreme, with one, and of another length."""
    for entry in SINGLES:
        yield struct.pack("<4f", *[entry] * 4), True
        yield struct.pack("<4f", 1.0, 1.0, 1.0, entry), True
    yield from ((bytes(size), True) for size in (1, 12, 15, 17, 20))


def _further() -> Iterator[tuple[dict[str, bytes], bool]]:
    """Further vectors of an update: with extreme entries, of another name, and more than are asked for."""
    for body, inside in _vectors():
        yield {"control": body}, inside
    yield {"other": bytes(16)}, True
    yield {"control": bytes(16), "other": bytes(16)}, True


def _moments() -> Iterator[tuple[bytes, bool]]:
    """Bodies of a survey of one column, which consist of count, mean and M2."""
    for entry in DOUBLES:
        for place in range(3):
            column = [100.0, 1.0, 100.0]
            column[place] = entry
            yield struct.pack("<3d", *column), True
        yield struct.pack("<3d", entry, entry, entry), True


_CONTENTS: dict[tuple[str, str], tuple[tuple[Any, bool], ...]] = {
    ("update", "body"): tuple(_vectors()),
    ("update", "vectors"): tuple(_further()),
    ("survey", "features"): tuple(_moments()),
    ("survey", "targets"): tuple(_moments()),
}
"""Extremes of the contents of fields that are plain bytes in the messages."""
