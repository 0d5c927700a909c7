"""The update of a device in one round."""

from typing import ClassVar

from pydantic import Field

from fedge.wire.messages.fields import (
    MAX_VECTORS,
    Counter,
    DeviceId,
    Digest,
    Generation,
    Metrics,
    MoreVectors,
)
from fedge.wire.messages.message import Message
from fedge.wire.names import WireName

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
