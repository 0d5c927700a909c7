"""The global model."""

from typing import ClassVar

from pydantic import Field

from fedge.wire.messages.fields import MAX_SIZE, Counter, Digest, Generation, MoreVectors
from fedge.wire.messages.message import Message
from fedge.wire.names import WireName


class Model(Message):
    """The global model after `round`, in float32 or in a coded form (`fedge.wire.models`).

    The digest of its message in float32 is the `base` of the updates made from it, whatever form is sent.
    """

    TYPE: ClassVar[str] = "model"
    MAX_VALUES: ClassVar[int] = 2_048

    generation: Generation
    round: Counter
    codec: WireName = "float32"
    body: bytes
    vectors: MoreVectors | None = None
    """The further vectors that the local algorithm receives, each in the same codec; None: none."""
    key: Digest | None = None
    """Of a coded form that holds changes: the digest of the key frame that they are to be added to."""
    size: int | None = Field(default=None, ge=1, le=MAX_SIZE)
    """Of a coded form: the number of entries of each vector."""
