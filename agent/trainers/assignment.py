"""What a round asks of this device."""

import threading
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.settings.sources import DEFAULT_SOURCE
from fedge.wire.messages.manifest import Manifest
from fedge.wire.messages.task import Task


@dataclass(frozen=True)
class Assignment:
    """One round's work; `weights` of shape (p,) is the model to start from, None for a survey."""

    manifest: Manifest
    task: Task
    weights: NDArray[np.float32] | None
    traffic: dict[str, float]
    """Bytes sent and received since the update before, to be reported with this one."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def source(self) -> str:
        """The name of the source to use: one of the owner's, for `lifecycle` begins no other work."""
        return self.task.source or DEFAULT_SOURCE
