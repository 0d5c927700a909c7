"""What a device learnt in one round."""

from typing import ClassVar

from pydantic import Field

from fedge.wire.messages.fields import Counter, DeviceId, Digest, Generation, Metrics, MoreVectors
from fedge.wire.messages.message import Message
from fedge.wire.names import WireName

WEIGHTS, DELTA, FIGURES = "weights", "delta", "figures"
"""Kinds of updates."""


class Update(Message):
    """What a device learnt in one round: its weights (or their difference from `base`) and n_k.

    Where a round only measures its model, no vector: the metrics are what is asked for.
    """

    TYPE: ClassVar[str] = "update"

    generation: Generation
    round: Counter
    base: Digest
    device: DeviceId
    samples: int
    """n_k, training samples without the held-out part; its bounds are admission's to judge."""
    steps: int = Field(ge=0, le=2**63 - 1)
    """How many times it changed its weights, as it says. 0.2.0 requires it, and nothing reads it: a rule that
    weighs by steps would have to bound it first (docs/security.md)."""
    kind: WireName
    """`weights`, `delta`: what the vector is; `figures`: there is none, and `body` is empty."""
    codec: WireName
    body: bytes
    vectors: MoreVectors | None = None
    """What the local algorithm sends besides, each in the same codec; none: nothing."""
    metrics: Metrics = Field(default_factory=dict)
