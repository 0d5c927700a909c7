"""What a schedule is, and where those are found: a file beside this one each."""

from typing import TYPE_CHECKING, Protocol

from fedge.algorithms.registry import Registry

if TYPE_CHECKING:  # `--check` works without the extra, which the core's maps are of
    from aggregator.core.events import Event
    from aggregator.core.federation import Federation, Step


class Schedule(Protocol):
    """A pure machine: what it answers depends on its arguments alone."""

    def start(self, state: "Federation", now_s: float) -> "Step":
        """Begin, from what the ledger knows."""

    def step(self, state: "Federation", event: "Event") -> "Step":
        """One event's consequences: the next state, and the effects in the order to perform them.

        An event that does not fit changes nothing.
        """

    def due_s(self, state: "Federation") -> float:
        """When a `Tick` is wanted next, in monotonic seconds."""


SCHEDULES: Registry[Schedule] = Registry("schedule", "aggregator.schedules")
