"""The interface of a phase on a device, and the lookup by name; each phase has its own module here.

`aggregator.phases.phase` is the aggregator's side: it admits updates and closes the round.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

from agent.config import AgentSettings
from agent.core.state import AlgorithmState, MaskedUpdate, PersonalState
from agent.data.dataset import Dataset
from agent.data.extremes import Extremes
from agent.data.snapshot import Snapshot
from agent.trainers.assignment import Assignment
from fedge.algorithms.registry import Registry
from fedge.algorithms.trainer import Trainer
from fedge.masking.round_messages import Promise
from fedge.nn import Network
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update

Cancelled = Callable[[], bool]


@dataclass(frozen=True)
class Equipment:
    """The parts of this device that a phase uses for an assignment."""

    settings: AgentSettings
    trainer: Trainer
    dataset: Dataset
    """The device's data, prepared for the task."""
    snapshot: Snapshot | None
    """The snapshot that surveys report of the source; only where the phase `tells_data`."""
    extremes: Extremes | None
    """The inputs that lie far outside the range that the fleet has measured."""
    network: Callable[[], Network]
    """The task's network."""
    seconds: Callable[[], float]
    """The duration of the work so far."""


@dataclass(frozen=True)
class Contribution:
    """The device's answer to a round."""

    message: Survey | Update | Promise
    pending: AlgorithmState | None = None
    """The algorithm's new state, which the device keeps if the answer is admitted."""
    personal: PersonalState | None = None
    """What the device keeps of its own models from now on; None: what it has."""
    masked: MaskedUpdate | None = None
    """The update that the message promises, in a masked round."""
    samples: int = 0
    """The number of training samples, where the message does not tell it."""


class Phase(Protocol):
    """One kind of work that a round asks for. Its name is the round's kind on the wire."""

    name: ClassVar[str]
    needs_model: ClassVar[bool]
    """Whether the work starts from the announced model."""
    needs_state: ClassVar[bool]
    """Whether the work uses the algorithm's saved state."""
    tells_data: ClassVar[bool]
    """Whether the answer describes the device's data, through the snapshot that all surveys share."""

    def contribute(self, assignment: Assignment, equipment: Equipment, cancelled: Cancelled) -> Contribution:
        """Do the work; call `cancelled` before each step of training.

        Raises:
            Exception: any error, which `agent.trainers.declines.declined` turns into a reason; or
                `Cancelled`.
        """


PHASES: Registry[Phase] = Registry("phase", "agent.phases")


@lru_cache(maxsize=64)
def phase_of(kind: str) -> Phase:
    """Return the phase of a round of this kind.

    Raises:
        ValueError: no phase has this name.
    """
    return PHASES.make(kind)
