"""What the aggregator's side asks of the devices' side in a round, and what it gets back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from agent.core.events import Failed
from aggregator.core.admission import Terms
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Rejection


class Place(NamedTuple):
    """An array of float32 in a file that all processes map into their memory."""

    path: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Order:
    """One attempt of a round."""

    manifest: Manifest
    terms: Terms
    """The terms of admission, without the weights, which are the first of `received`."""
    task: Task
    received: tuple[str, ...]
    """The names of the announced model's vectors, `weights` first; (): there is no model yet."""
    sends: tuple[str, ...]
    """The names of the vectors of each update, `weights` first; (): this round has none."""
    model: Place
    """The announced vectors, of shape (len(received), p)."""
    updates: Place
    """Where the devices' decoded vectors are written, of shape (devices, len(sends), p)."""


@dataclass(frozen=True)
class Outcome:
    """What became of one device's work."""

    device: str
    samples: int = 0
    steps: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    """The figures that admission keeps."""
    lengths: Mapping[str, float] = field(default_factory=dict)
    """Of its vectors, as far as admission has measured them."""
    sent: int = 0
    """The bytes of its encoded vectors."""
    survey: Survey | None = None
    """The message itself, in a survey."""
    stateful: bool = False
    """Whether the device keeps a state of the algorithm."""
    failed: Failed | None = None
    """Why it declined."""
    refused: Rejection | None = None
    """Why it is not admitted."""

    @property
    def admitted(self) -> bool:
        """Whether it counts."""
        return self.failed is None and self.refused is None
