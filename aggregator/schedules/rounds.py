"""One round after the other: all updates of a round begin from the same model, and make the next one.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS.
"""

from typing import TYPE_CHECKING

from fedge.algorithms.registry import Entry

if TYPE_CHECKING:  # so that `--check` needs no extra; the core's maps do
    from aggregator.core.events import Event
    from aggregator.core.federation import Federation, Step


class Rounds:
    """The machine of `aggregator.core.rounds`."""

    def __init__(self) -> None:
        from aggregator.core import rounds

        self._rounds = rounds

    def start(self, state: "Federation", now_s: float) -> "Step":
        """As `rounds.start`."""
        return self._rounds.start(state, now_s)

    def step(self, state: "Federation", event: "Event") -> "Step":
        """As `rounds.step`."""
        return self._rounds.step(state, event)

    def due_s(self, state: "Federation") -> float:
        """As `rounds.due_s`."""
        return self._rounds.due_s(state)


ENTRY = Entry("schedule", "rounds", Rounds)
