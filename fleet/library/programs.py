"""Programs of a simulation, on the clock, network and broker of `fleet.simulator`, where nothing fails."""

import random
from dataclasses import dataclass

from fleet.simulator.broker import Broker
from fleet.simulator.clock import Clock
from fleet.simulator.place import Place
from fleet.simulator.turns import Turns

QUEUE_LIMIT = 1_000_000
"""The largest number of messages that wait for a client at the broker."""


@dataclass(frozen=True)
class Stage:
    """What all programs of a simulated federation share."""

    clock: Clock
    broker: Broker
    rng: random.Random
    """Determines only the delay of packets; no model depends on it."""

    @classmethod
    def new(cls, seed: int) -> "Stage":
        """Make a new network."""
        clock = Clock()
        broker = Broker(lambda: clock.now_s, clock.after, lambda _: None, QUEUE_LIMIT)
        return cls(clock, broker, random.Random(seed))  # noqa: S311 # delays, not a secret


class Program(Turns):
    """A program of the federation; nothing fails on its network.

    Args:
        stage: what it shares with the others.
    """

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage.clock)
        self.stage = stage

    def start(self) -> None:
        """Connect."""
        raise NotImplementedError

    def close(self) -> None:
        """Close its database."""
        raise NotImplementedError

    def place(self) -> Place:
        """The place of its link."""
        return Place(self.stage.clock, self.stage.broker, self.stage.rng)
