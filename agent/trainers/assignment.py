"""The work that a round asks of this device."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.core.state import AlgorithmState, PersonalState
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
    """Bytes sent and received since the previous update; the update of this round reports them."""
    more: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """The model's further vectors for the local algorithm, by name, each of shape (p,)."""
    state: AlgorithmState | None = None
    """The algorithm's state after this device's last admitted update; None: no state is kept."""
    personal: PersonalState | None = None
    """What this device keeps of its own models; None: nothing."""
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def source(self) -> str:
        """The name of the source to use. The owner offers it: `lifecycle` starts no other work."""
        return self.task.source or DEFAULT_SOURCE
