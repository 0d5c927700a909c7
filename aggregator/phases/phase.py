"""The protocol of phases, and their registry: one file beside this one for each phase.

A round's kind, on the wire and in the ledger, is the name of its phase.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fedge.algorithms.registry import Registry
from fedge.masking.round_messages import Promise
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fedge.wire.reasons import Rejection

if TYPE_CHECKING:  # so that `--check` needs no extra; the core's maps do
    from aggregator.aggregation.job import ClosingJob, Outcome
    from aggregator.core.admission import Admitted, Terms
    from aggregator.core.federation import Federation
    from aggregator.core.progress import Progress
    from aggregator.core.usual_distance import UsualDistance
    from aggregator.ledger.reading import LedgerReader


class Phase(Protocol):
    """What a round asks of devices. A phase derives from this class."""

    name: ClassVar[str]
    message: ClassVar[type[Update] | type[Survey] | type[Promise]]
    """The type of the devices' messages."""
    trains: ClassVar[bool]
    """It asks for training by the plan, and makes a new model."""
    needs_quorum: ClassVar[bool]
    """It closes only with a quorum. Otherwise it closes at its deadline with whatever has arrived, and no
    warning names the devices that cannot take part."""
    done_as: ClassVar[str]
    """The kind under which its end is announced: one that a device of 0.2.0 knows."""

    def base(self, task: Blob, model: Blob | None) -> bytes:
        """The digest that its messages are made from: the model's, where there is one, or the task's."""
        return model.digest if model is not None else task.digest

    def judge(self, terms: "Terms", message: Any) -> "Admitted | Rejection":
        """Judge the fields of a message that belong to this phase: round, base and sender fit. Pure."""

    def judge_all(self, terms: "Terms", messages: Sequence[Any]) -> "list[Admitted | Rejection]":
        """As `judge`, of each of several messages. Pure."""
        return [self.judge(terms, message) for message in messages]

    def job(self, state: "Federation") -> Mapping[str, Any]:
        """The fields of `ClosingJob` that only this phase needs. Pure."""
        return {}

    def close(self, ledger: "LedgerReader", job: "ClosingJob", go_on: Callable[[], None]) -> "Outcome":
        """Compute the round's outcome from the admitted messages in the ledger, which is only read.

        `go_on` is called before each message is read; what it raises ends the work.

        Raises:
            DamagedState: what was admitted is missing or damaged.
        """

    def progress(self, progress: "Progress", summary: Mapping[str, float]) -> "Progress":
        """The progress after such a round. Pure."""

    def usual(self, usual: "UsualDistance", summary: Mapping[str, float]) -> "UsualDistance":
        """The usual distance of an update from its base, after such a round. Pure."""


PHASES: Registry[Phase] = Registry("phase", "aggregator.phases")


@lru_cache(maxsize=64)
def phase_of(kind: str) -> Phase:
    """The phase of a round of this kind.

    Raises:
        ValueError: there is no phase of this name.
    """
    return PHASES.make(kind)


@lru_cache(maxsize=1)
def messages() -> tuple[type[Update] | type[Survey] | type[Promise], ...]:
    """The message types of all phases."""
    return tuple(dict.fromkeys(phase_of(name).message for name in PHASES.names()))
