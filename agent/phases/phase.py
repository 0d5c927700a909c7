"""What a phase is on a device, and where the known ones are found: a file beside this one each.

`aggregator.phases.phase` has the other side: what is admitted, and how the round closes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

from agent.config import AgentSettings
from agent.core.state import AlgorithmState
from agent.data.dataset import Dataset
from agent.data.extremes import Extremes
from agent.data.snapshot import Snapshot
from agent.trainers.assignment import Assignment
from fedge.algorithms.registry import Registry
from fedge.algorithms.trainer import Trainer
from fedge.nn import Network
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update

Cancelled = Callable[[], bool]


@dataclass(frozen=True)
class Equipment:
    """What a phase has on this device to do an assignment with."""

    settings: AgentSettings
    trainer: Trainer
    dataset: Dataset
    """The device's data, as the task wants them."""
    snapshot: Snapshot | None
    """What surveys tell of the source, where the phase `tells_data`."""
    extremes: Extremes | None
    """What of the data lies far outside of what the fleet has measured."""
    network: Callable[[], Network]
    """The task's network."""
    seconds: Callable[[], float]
    """How long the work has lasted."""


@dataclass(frozen=True)
class Contribution:
    """What a device answers with."""

    message: Survey | Update
    pending: AlgorithmState | None = None
    """What an algorithm will remember if the answer is admitted."""


class Phase(Protocol):
    """What a round asks for. Its name is the round's kind on the wire."""

    name: ClassVar[str]
    needs_model: ClassVar[bool]
    """It begins from the announced model."""
    needs_state: ClassVar[bool]
    """It uses what an algorithm remembers."""
    tells_data: ClassVar[bool]
    """It tells of the device's data, by the snapshot of them that surveys tell of."""

    def contribute(self, assignment: Assignment, equipment: Equipment, cancelled: Cancelled) -> Contribution:
        """Do the work; `cancelled` is asked before each step of training.

        Raises:
            Exception: whatever `agent.trainers.declines.declined` gives a reason for, and `Cancelled`.
        """


PHASES: Registry[Phase] = Registry("phase", "agent.phases")


@lru_cache(maxsize=64)
def phase_of(kind: str) -> Phase:
    """The phase of a round of this kind.

    Raises:
        ValueError: there is none of this name.
    """
    return PHASES.make(kind)
