"""One round after the other: all updates of a round begin from the same model, and make the next one.

McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data", AISTATS.
"""

from aggregator.core import rounds
from aggregator.core.events import Event
from aggregator.core.federation import Federation, Step
from fedge.algorithms.registry import Entry


class Synchronous:
    """The machine of `aggregator.core.rounds`."""

    def start(self, state: Federation, now_s: float) -> Step:
        """As `rounds.start`."""
        return rounds.start(state, now_s)

    def step(self, state: Federation, event: Event) -> Step:
        """As `rounds.step`."""
        return rounds.step(state, event)

    def due_s(self, state: Federation) -> float:
        """As `rounds.due_s`."""
        return rounds.due_s(state)


ENTRY = Entry("schedule", "synchronous", Synchronous)
