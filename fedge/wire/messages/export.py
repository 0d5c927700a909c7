"""The exported file of a round."""

from typing import ClassVar

from pydantic import model_validator

from fedge.wire.messages.fields import Counter, Detail, Digest, Generation
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import Message


class Export(Message):
    """The ONNX file of a round, or the reason why there is none."""

    TYPE: ClassVar[str] = "export"

    generation: Generation
    round: Counter
    model: Digest
    file: Blob | None = None
    """SHA-256 and slot of the ONNX file; None: it was withheld."""
    withheld: Detail = ""
    """Why there is no file."""

    @model_validator(mode="after")
    def _check(self) -> "Export":
        if (self.file is None) != bool(self.withheld):
            raise ValueError("an export names its file, or says why it was withheld")
        return self
