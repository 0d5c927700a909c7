"""The job of exporting a model and the other one beside it, and its result."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.wire.freshness import RoundId
from fedge.wire.messages.task import Task

NEWEST, BEST = "newest", "best"
"""The folders of the other model."""
"""The key, in the manifest and in the ONNX file's metadata, of what is said of parameters that no device
shares."""


@dataclass(frozen=True)
class Clusters:
    """The shared models, where there are several, and how many devices trained each in the model's round."""

    vectors: tuple[NDArray[np.float32], ...] = field(compare=False, repr=False)
    devices: tuple[int, ...]
    """By cluster; () where no device has trained yet."""

    @property
    def most(self) -> int:
        """The cluster of most devices, which is exported as the model; of equal ones the lowest number."""
        return self.devices.index(max(self.devices)) if self.devices else 0


@dataclass(frozen=True)
class Job:
    """One model to export."""

    round: RoundId
    """The round of the model."""
    digest: bytes
    """Digest of the model as announced."""
    task: Task
    vector: NDArray[np.float32]
    metrics: dict[str, float]
    last: bool
    """Learning is done: nothing follows."""
    came_from: str | None = None
    """The rounds that the model was made from, if a generation began with it."""
    until: RoundId | None = None
    """The newest round when it was chosen; None: its own."""
    choice: Mapping[str, Any] = field(default_factory=dict)
    """The manifest's entries on the choice."""
    clusters: Clusters | None = None
    """All shared models, of which `vector` is one; None: there is only one."""
    beside: "Beside | None" = None
    """The other model."""


@dataclass(frozen=True)
class Beside:
    """Another model of the same task, for a folder of its own."""

    folder: str
    round: RoundId
    digest: bytes
    vector: NDArray[np.float32] = field(compare=False, repr=False)
    metrics: dict[str, float]
    choice: Mapping[str, Any] = field(default_factory=dict)
    came_from: str | None = None
    clusters: Clusters | None = None


@dataclass(frozen=True)
class Exported:
    """The result of a job."""

    job: Job
    onnx: bytes | None
    withheld: str
