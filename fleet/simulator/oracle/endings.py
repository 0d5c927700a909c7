"""Check that learning ends after its last round, or when enough devices report the target accuracy."""

from dataclasses import dataclass

from fedge.wire.freshness import RoundId
from fleet.simulator.books import Book
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.record import Made, Record


@dataclass(frozen=True)
class Ending:
    """The rule by which learning ends."""

    rounds: int
    accuracy: float


NEVER = Ending(2**31 - 1, 2.0)


class Endings:
    """Records the reported accuracies, and checks each end of learning against them.

    Args:
        record: the facts of the world.
        ending: when learning may end.
    """

    def __init__(self, record: Record, ending: Ending) -> None:
        self._record, self._ending = record, ending
        self._told: dict[RoundId, dict[str, float]] = {}
        """The accuracies that the counted devices reported, by round."""

    def note(self, round_id: RoundId, made: list[Made]) -> None:
        """Remember the accuracies that were reported in a round."""
        self._told[round_id] = {
            one.device: one.message.metrics["accuracy_before"]
            for one in made
            if "accuracy_before" in one.message.metrics
        }

    def require(self, book: Book, here: RoundId) -> None:
        """Check that an early end of learning does not rest on the report of a single device.

        If the last round only measured, the round before it ended learning.
        """
        if here in book.measured:
            here = here._replace(round=here.round - 1)
        told = self._told.get(here, {})
        if here.round >= self._ending.rounds or max(told.values(), default=1.0) < self._ending.accuracy:
            return
        others = [accuracy for device, accuracy in told.items() if device not in self._record.liars]
        if max(others, default=0.0) < self._ending.accuracy:
            raise Violation(
                Invariant.END_OF_LEARNING,
                f"learning is over after round {here}, in which a single device reports an accuracy of "
                f"{max(told.values())}, and the others at most {max(others, default=0.0)}",
            )
