"""A program's inbox on a virtual clock: events wait in it, and the program handles them in turns."""

from collections import deque
from collections.abc import Callable
from typing import Any

from fleet.simulator.clock import Clock


class Turns:
    """A program that has a turn whenever an event is in its inbox, and when its own deadline comes.

    A subclass defines `turn` and `due_s`. What is posted during a turn is handled after it.

    Args:
        clock: of the world.
    """

    def __init__(self, clock: Clock) -> None:
        self.alive = True
        """Whether the program runs; only then it has turns."""
        self.boots = 0
        """How often it was started again: an event for an earlier life is dropped."""
        self._clock = clock
        self._inbox: deque[Any] = deque()
        self._at_work = False
        self._zero_s = 0.0
        """When the program's own clock showed 0."""
        self._alarm_s: float | None = None
        """When the next turn without an event is due, by the clock of the world."""

    def turn(self, events: list[Any]) -> None:
        """Handle these events; an empty list means that time has passed."""
        raise NotImplementedError

    def due_s(self) -> float | None:
        """When the program wants a turn without an event, by its own clock; None: never."""
        raise NotImplementedError

    def gather(self) -> list[Any]:
        """Take events for one turn out of the inbox, which is not empty: all of them."""
        events = list(self._inbox)
        self._inbox.clear()
        return events

    def run(self, action: Callable[[], None]) -> None:
        """Run a part of the program; a subclass handles its errors here."""
        action()

    def now_s(self) -> float:
        """The program's monotonic clock."""
        return self._clock.now_s - self._zero_s

    def post(self, event: Any) -> None:
        """Put an event into the inbox."""
        self._inbox.append(event)
        self.rouse()

    def poster(self) -> Callable[[Any], None]:
        """Return a `post` for the present run of the program: after a restart it drops its events."""
        boot = self.boots

        def post(event: Any) -> None:
            if self.alive and boot == self.boots:
                self.post(event)

        return post

    def rouse(self) -> None:
        """Handle what is in the inbox, unless a turn is running, which does so at its end."""
        if not self._at_work:
            self.work()

    def work(self) -> None:
        """Empty the inbox, then set the alarm for the next deadline."""
        while self._inbox and self.alive:
            events = self.gather()
            self.guarded(lambda events=events: self.turn(events))  # type: ignore[misc]
        self._set_alarm()

    def guarded(self, action: Callable[[], None]) -> None:
        """Run a part of the program; what is posted meanwhile waits in the inbox."""
        self._at_work = True
        try:
            self.run(action)
        finally:
            self._at_work = False

    def _set_alarm(self) -> None:
        due_s = self.due_s() if self.alive else None
        if due_s is None:
            return
        when_s = max(self._clock.now_s, due_s + self._zero_s) + 0.001
        if self._alarm_s is None or when_s < self._alarm_s:
            self._alarm_s = when_s
            boot = self.boots
            self._clock.at(when_s, lambda: self._ring(boot, when_s))

    def _ring(self, boot: int, when_s: float) -> None:
        if not self.alive or boot != self.boots or when_s != self._alarm_s:
            return
        self._alarm_s = None
        self.guarded(lambda: self.turn([]))
        self.work()
