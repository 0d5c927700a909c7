"""What all hosts of a world share: time, the broker, the oracle and the trace."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from fedge.wire.topics import Topics
from fleet.simulator.broker import Broker
from fleet.simulator.clock import Clock
from fleet.simulator.oracle import Oracle


@dataclass(frozen=True)
class Scene:
    """What all hosts of a world share."""

    clock: Clock
    broker: Broker
    oracle: Oracle
    topics: Topics
    rng: random.Random
    tell: Callable[[str, str], None]
    """Write a line of the trace: who, what."""
