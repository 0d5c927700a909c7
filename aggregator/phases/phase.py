"""The protocol of phases, and their registry: one file beside this one for each phase.

A round's kind, on the wire and in the ledger, is the name of its phase.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fedge.algorithms.registry import Registry
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Rejection

if TYPE_CHECKING:  # `--check` works without the extra, which the core's maps are of
    from aggregator.aggregation.job import ClosingJob, Outcome
    from aggregator.core.admission import Admitted, Terms
    from aggregator.core.federation import Federation
    from aggregator.core.progress import Progress
    from aggregator.core.usual_distance import UsualDistance
    from aggregator.ledger.reading import LedgerReader


class Phase(Protocol):
    """What a round asks of devices."""

    name: ClassVar[str]
    message: ClassVar[type[Update] | type[Survey]]
    """The type of the devices' messages."""
    trains: ClassVar[bool]
    """It asks for training by the plan, and makes a new model."""
    needs_quorum: ClassVar[bool]
    """It closes with a quorum only. Else it closes at its deadline with whatever has come, and a device that
    cannot take part is not missed."""
    done_as: ClassVar[str]
    """The kind under which its end is announced: one that a device of 0.2.0 knows."""

    def base(self, task: Blob, model: Blob | None) -> bytes:
        """The digest of what its messages are made from."""

    def judge(self, terms: "Terms", message: Any) -> "Admitted | Rejection":
        """Judge what is this phase's own in a message of its kind: round, base and sender are right. Pure."""

    def job(self, state: "Federation") -> Mapping[str, Any]:
        """What the job of closing it needs besides what all do: fields of `ClosingJob`. Pure."""

    def close(self, ledger: "LedgerReader", job: "ClosingJob", go_on: Callable[[], None]) -> "Outcome":
        """Compute the round's outcome from the admitted messages in the ledger, which is only read.

        `go_on` is called before each message is read; what it raises ends the work.

        Raises:
            DamagedState: what was admitted is missing or damaged.
        """

    def progress(self, progress: "Progress", summary: Mapping[str, float]) -> "Progress":
        """The progress with such a round closed. Pure."""

    def usual(self, usual: "UsualDistance", summary: Mapping[str, float]) -> "UsualDistance":
        """How far from its base an update usually is, with such a round closed. Pure."""


PHASES: Registry[Phase] = Registry("phase", "aggregator.phases")


@lru_cache(maxsize=64)
def phase_of(kind: str) -> Phase:
    """The phase of a round of this kind.

    Raises:
        ValueError: there is none of this name.
    """
    return PHASES.make(kind)


@lru_cache(maxsize=1)
def messages() -> tuple[type[Update] | type[Survey], ...]:
    """The message types of all phases."""
    return tuple(dict.fromkeys(phase_of(name).message for name in PHASES.names()))
