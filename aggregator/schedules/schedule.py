"""The protocol of schedules, and their registry: one file beside this one for each schedule."""

from typing import TYPE_CHECKING, Protocol

from fedge.algorithms.registry import Registry

if TYPE_CHECKING:  # so that `--check` needs no extra; the core's maps do
    from aggregator.core.events import Event
    from aggregator.core.federation import Federation, Step


class Schedule(Protocol):
    """A pure machine: its results depend on its arguments alone."""

    def start(self, state: "Federation", now_s: float) -> "Step":
        """Begin, from what the ledger knows."""

    def step(self, state: "Federation", event: "Event") -> "Step":
        """Handle one event: the next state, and the effects in the order to perform them.

        An event that does not fit changes nothing.
        """

    def due_s(self, state: "Federation") -> float:
        """When a `Tick` is wanted next, in monotonic seconds."""


SCHEDULES: Registry[Schedule] = Registry("schedule", "aggregator.schedules")
