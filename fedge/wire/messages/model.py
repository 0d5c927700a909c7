"""The global model."""

from typing import ClassVar

from fedge.wire.messages.fields import Counter, Generation, MoreVectors
from fedge.wire.messages.message import Message
from fedge.wire.names import WireName


class Model(Message):
    """The global model after `round`; its digest is the `base` of the updates made from it."""

    TYPE: ClassVar[str] = "model"
    MAX_VALUES: ClassVar[int] = 2_048

    generation: Generation
    round: Counter
    codec: WireName = "float32"
    body: bytes
    vectors: MoreVectors | None = None
    """The further vectors that the local algorithm receives, each in the same codec; None: none."""
