"""The update of a device in one round."""

import re
from typing import ClassVar

from pydantic import Field

from fedge.errors import ProtocolError
from fedge.wire import encoding
from fedge.wire.messages.fields import (
    MAX_VECTORS,
    Counter,
    DeviceId,
    Digest,
    Generation,
    Metrics,
    MoreVectors,
)
from fedge.wire.messages.message import Message, validated
from fedge.wire.names import WireName
from fedge.wire.packed import LENGTH, NUMBER, number

WEIGHTS, DELTA, FIGURES = "weights", "delta", "figures"
"""Kinds of updates."""


class Update(Message):
    """The result of a device's round: its weights (or their difference from `base`) and n_k.

    A measuring round has no vector; it asks for the metrics alone.
    """

    TYPE: ClassVar[str] = "update"
    MAX_VALUES: ClassVar[int] = 2_048

    generation: Generation
    round: Counter
    base: Digest
    device: DeviceId
    samples: int
    """n_k, the number of training samples without the held-out part; admission checks its bounds."""
    steps: int = Field(ge=0, le=2**63 - 1)
    """τ_k, the claimed number of steps. Rules see it within `fedge.algorithms.rules.bounds`; only `nova`
    reads it."""
    kind: WireName
    """`weights` or `delta`: the content of the vector; `figures`: there is none, and `body` is empty."""
    codec: WireName
    body: bytes
    vectors: MoreVectors | None = None
    """The further vectors of the local algorithm, each in the same codec; None: none."""
    cluster: int | None = Field(default=None, ge=0, le=MAX_VECTORS)
    """The shared model that the device trained, where there are several; None: the first one, number 0."""
    metrics: Metrics = Field(default_factory=dict)


_PACKED = re.compile(
    rb"\x8c\xa1v\x01\xa4type\xa6update\xaageneration" + NUMBER + rb"\xa5round" + NUMBER
    + rb"\xa4base\xc4 (.{32})\xa6device(?:\xd9(.)|([\xa1-\xbf]))([a-z0-9-]{1,36})\xa7samples" + NUMBER
    + rb"\xa5steps" + NUMBER + rb"\xa4kind([\xa1-\xbf])([a-z0-9_:.-]{1,31})"
    + rb"\xa5codec([\xa1-\xbf])([a-z0-9_:.-]{1,31})\xa4body" + LENGTH,
    re.DOTALL,
)  # fmt: skip
"""How `pack` begins an update with one vector, of a device that trained the first model."""
_METRICS = b"\xa7metrics"
MOST_METRICS = 2_048
"""The most bytes of the metrics: 32 of them take less."""


def unpack_update(payload: bytes) -> Update | None:
    """As `unpack` of an update, in a quarter of the time, if `pack` wrote it and it has one vector.

    None: it is written differently or cannot be valid; `unpack` reads it, or says what is wrong.
    """
    found = _PACKED.match(payload)
    if found is None:
        return None
    generation, round_, base, long, short, device, samples, steps, kinds, kind, codecs, codec, *lengths = (
        found.groups()
    )
    named = long[0] if long is not None else short[0] - 0xA0
    if (named, kinds[0] - 0xA0, codecs[0] - 0xA0) != (len(device), len(kind), len(codec)):
        return None
    start = found.end()
    end = start + int.from_bytes(next(filter(None, lengths)), "big")
    metrics = end + len(_METRICS)
    if payload[end:metrics] != _METRICS or len(payload) - metrics > MOST_METRICS:
        return None
    try:
        fields = {
            "generation": number(generation),
            "round": number(round_),
            "base": base,
            "device": device.decode(),
            "samples": number(samples),
            "steps": number(steps),
            "kind": kind.decode(),
            "codec": codec.decode(),
            "body": payload[start:end],
            "metrics": encoding.decode(payload[metrics:]),
        }
        return validated(Update, fields)
    except ProtocolError:
        return None
