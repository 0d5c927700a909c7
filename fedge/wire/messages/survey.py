"""The survey: what a device reports of its columns and classes."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from fedge.service.escapes import OBEYED
from fedge.wire.messages.fields import Counter, DeviceId, Digest, Generation, Metrics, unique
from fedge.wire.messages.message import Message, Part

MAX_CLASSES_TOLD = 100
"""The most classes in a survey."""
CLASS_TOLD = rf"^[^{OBEYED}]{{1,60}}$"
"""The pattern of a class's name: at most 60 characters that are shown as they are."""


class ClassCount(Part):
    """The number of training rows that a device has of a class, rounded."""

    name: Annotated[str, Field(pattern=CLASS_TOLD)]
    rows: Counter


def _unlike(counts: tuple[ClassCount, ...]) -> tuple[ClassCount, ...]:
    unique(tuple(count.name for count in counts))
    return counts


ClassCounts = Annotated[
    tuple[ClassCount, ...], Field(max_length=MAX_CLASSES_TOLD, strict=False), AfterValidator(_unlike)
]


class Survey(Message):
    """Count, mean and M2 (the sum of squared deviations) of each column, as little-endian float64; no
    samples."""

    TYPE: ClassVar[str] = "survey"
    MAX_VALUES: ClassVar[int] = 2_048

    generation: Generation
    round: Counter
    base: Digest
    """The digest of the surveyed task."""
    device: DeviceId
    samples: int
    features: bytes
    """float64 of shape (3, d): counts, means, M2."""
    targets: bytes = b""
    """float64 of shape (3, t) for a regression, else empty."""
    classes: ClassCounts | None = None
    """Rows of each class, for a classification; None: the device's owner does not allow it."""
    metrics: Metrics = Field(default_factory=dict)
