"""The coded form in which the newest model is sent, as the core knows it."""

from dataclasses import dataclass

from fedge.wire.messages.frame import Blob


@dataclass(frozen=True)
class CodedForm:
    """Where the coded form of a model lies, and the key frame that it refers to (`fedge.wire.models`)."""

    codec: str
    coded: Blob
    """In the slot of its model."""
    key: Blob | None = None
    """None: it needs none."""
