"""A client's place in the world: the network of its host, and the functions that observe its packets."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from fedge.transport import MessageArrived, Publication
from fleet.simulator.broker import Broker
from fleet.simulator.clock import Clock
from fleet.simulator.crash import Power

SLOW_S = 2.0
"""Delay of a packet on a slow network."""


@dataclass
class Weather:
    """The state of a host's network."""

    usual_s: float = 0.01
    """Delay of a packet while no fault slows it down."""
    slowed: int = 0
    """Number of faults that slow the network down now."""
    dark_until_s: float = 0.0
    """Until this time the network loses all packets, and neither side is told."""

    @property
    def delay_s(self) -> float:
        """The present delay of a packet."""
        return SLOW_S if self.slowed else self.usual_s


def _ignore(_: object) -> None:
    """Observe nothing."""


@dataclass(frozen=True)
class Place:
    """The parts that a link shares with its host and the world; by default no fault and no observer."""

    clock: Clock
    broker: Broker
    rng: random.Random
    weather: Weather = field(default_factory=Weather)
    power: Power = field(default_factory=Power)
    said: Callable[[Publication], None] = _ignore
    """Called with each publication as it leaves the host."""
    handed: Callable[[Publication], None] = _ignore
    """Called with each reply when it is handed to the link, whose window may be full."""
    acknowledging: Callable[[MessageArrived], None] = _ignore
    """Called with each acknowledgement as it leaves the host."""
