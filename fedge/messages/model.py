"""The global model."""

from typing import ClassVar

from fedge.messages.fields import Counter, Generation
from fedge.messages.message import Message
from fedge.names import WireName


class Model(Message):
    """The global model after `round`; its digest is the `base` of the updates made from it."""

    TYPE: ClassVar[str] = "model"

    generation: Generation
    round: Counter
    codec: WireName = "float32"
    body: bytes
