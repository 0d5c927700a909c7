"""Programs on a virtual network: each turns whenever something is in its inbox, or is due.

Nothing fails here and nothing waits: time is `fleet.simulator.clock`, the broker `fleet.simulator.broker`.
"""

import random
from collections import deque
from dataclasses import dataclass
from typing import Any

from fleet.simulator.broker import Broker
from fleet.simulator.clock import Clock
from fleet.simulator.crash import Power
from fleet.simulator.place import Place, Weather

QUEUE_LIMIT = 1_000_000
"""Messages that wait for a client at the broker."""


@dataclass(frozen=True)
class Stage:
    """What all programs of a simulated federation share."""

    clock: Clock
    broker: Broker
    rng: random.Random
    """For the way of a packet alone: no model depends on it."""

    @classmethod
    def new(cls, seed: int) -> "Stage":
        """A network on which nothing has happened yet."""
        clock = Clock()
        broker = Broker(lambda: clock.now_s, clock.after, lambda _: None, QUEUE_LIMIT)
        return cls(clock, broker, random.Random(seed))  # nosec B311 # delays, not a secret


class Program:
    """A program with one inbox, whose turns begin when something is in it or is due."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._inbox: deque[Any] = deque()
        self._at_work = False
        self._tick_s: float | None = None

    def start(self) -> None:
        """Connect."""
        raise NotImplementedError

    def close(self) -> None:
        """Close its database."""
        raise NotImplementedError

    def turn(self, events: list[Any]) -> None:
        """Handle what happened; nothing means that time has passed."""
        raise NotImplementedError

    def due_s(self) -> float | None:
        """When the program wants a turn though nothing happens."""
        raise NotImplementedError

    def now_s(self) -> float:
        """Its monotonic clock."""
        return self.stage.clock.now_s

    def post(self, event: Any) -> None:
        """Put something into the inbox."""
        self._inbox.append(event)
        if not self._at_work:
            self._work()

    def place(self) -> Place:
        """Where its link is: on a network that loses nothing."""
        return Place(
            self.stage.clock,
            self.stage.broker,
            Weather(),
            Power(),
            self.stage.rng,
            lambda _: None,
            lambda _: None,
            lambda _: None,
        )

    def _work(self) -> None:
        self._at_work = True
        try:
            while self._inbox:
                events = list(self._inbox)
                self._inbox.clear()
                self.turn(events)
        finally:
            self._at_work = False
        self._arm()

    def _arm(self) -> None:
        due_s = self.due_s()
        if due_s is None:
            return
        when_s = max(self.now_s(), due_s) + 0.001
        if self._tick_s is None or when_s < self._tick_s:
            self._tick_s = when_s
            self.stage.clock.at(when_s, lambda: self._tick(when_s))

    def _tick(self, when_s: float) -> None:
        if when_s == self._tick_s:
            self._tick_s = None
            self.turn([])
            self._work()
