"""What a device tells of its columns and classes."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from fedge.service.escapes import OBEYED
from fedge.wire.messages.fields import Counter, DeviceId, Digest, Generation, Metrics, unique
from fedge.wire.messages.message import Message, Part

MAX_CLASSES_TOLD = 100
"""Classes that a survey tells at most."""
CLASS_TOLD = rf"^[^{OBEYED}]{{1,60}}$"
"""What such a class may be called: what is shown as it is, 60 characters at most."""


class ClassCount(Part):
    """How many rows of its training part a device has of a class, rounded."""

    name: Annotated[str, Field(pattern=CLASS_TOLD)]
    rows: Counter


def _unlike(counts: tuple[ClassCount, ...]) -> tuple[ClassCount, ...]:
    unique(tuple(count.name for count in counts))
    return counts


ClassCounts = Annotated[
    tuple[ClassCount, ...], Field(max_length=MAX_CLASSES_TOLD, strict=False), AfterValidator(_unlike)
]


class Survey(Message):
    """Per column count, mean and M2 (the sum of squared deviations), as little-endian float64: no sample."""

    TYPE: ClassVar[str] = "survey"

    generation: Generation
    round: Counter
    base: Digest
    """The digest of the task that was surveyed."""
    device: DeviceId
    samples: int
    features: bytes
    """float64 of shape (3, d): counts, means, M2."""
    targets: bytes = b""
    """float64 of shape (3, t) for a regression, else empty."""
    classes: ClassCounts | None = None
    """Of a classification: what there is of each class; none: the device's owner does not let it tell."""
    metrics: Metrics = Field(default_factory=dict)
