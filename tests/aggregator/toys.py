"""Parts from outside, one of each kind that the aggregator runs: named in tests as an operator would."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.protocols import Combined, LocalAlgorithm, Rule, State, Updates
from fedge.algorithms.registry import Entry, Options
from fedge.algorithms.trainer import Job, Trained
from fedge.errors import ProtocolError
from fedge.wire.reasons import Reason

Vector = NDArray[np.float32]


class MedianOptions(Options):
    shift: float = 0.0
    """What is added to each entry: something to be told."""


class Median(Rule):
    """The median of each entry; it holds all vectors, which a test may."""

    version = "median/1"

    def __init__(self, options: MedianOptions) -> None:
        self._shift = options.shift

    def aggregate(self, updates: Updates, base: Vector, state: State) -> Combined:
        vectors = [each.vector for each in updates.lanes()]
        assert len(vectors) == len(updates)
        return Combined((np.median(vectors, axis=0) + self._shift).astype(np.float32))


class Nameless:
    """A rule without a version."""

    def aggregate(self, updates: Updates, base: Vector, state: State) -> Combined:
        return Combined(base)


class HeavyOptions(Options):
    beta: float
    """How much of the step before is in a step."""


class Heavy:
    """Momentum on the server: v ← β v + (aggregate - base), w ← base + v."""

    def __init__(self, options: HeavyOptions) -> None:
        self._beta = options.beta

    def init(self, size: int) -> State:
        return {"v": np.zeros(size), "steps": np.array(0)}

    def step(self, base: Vector, aggregate: Vector, state: State, share: float) -> tuple[Vector, State]:
        v = self._beta * state["v"] + np.subtract(aggregate, base, dtype=np.float64)
        return (base + v).astype(np.float32), {"v": v, "steps": state["steps"] + 1}


class Careful:
    """A step towards the aggregate, as long as the share of the fleet that it is of."""

    def init(self, size: int) -> State:
        return {}

    def step(self, base: Vector, aggregate: Vector, state: State, share: float) -> tuple[Vector, State]:
        return (base + share * np.subtract(aggregate, base, dtype=np.float64)).astype(np.float32), {}


class Halves:
    """The change in two bytes an entry; what begins with 0xff 0x7e makes it fail as no codec should."""

    encodes: ClassVar[Literal["weights", "change"]] = "change"

    def init(self, size: int) -> State:
        return {}

    def encode(self, vector: NDArray[Any], state: object = None, seed: object = None) -> tuple[bytes, State]:
        return vector.astype("<f2").tobytes(), {}

    def decode(self, body: bytes, size: int, seed: object = None) -> Vector:
        if body[:2] == b"\xff\x7e":
            raise ZeroDivisionError("a mistake of its author")
        if body[:2] == b"\xfe\x7e":
            return np.zeros(size + 1, np.float32)
        if len(body) != self.max_bytes(size):
            raise ProtocolError(f"{len(body)} bytes", Reason.WRONG_LENGTH)
        return np.frombuffer(body, "<f2").astype(np.float32)

    def max_bytes(self, size: int) -> int:
        return 2 * size


class Controlled:
    """Sends a second vector, and gets its aggregate with the model."""

    receives: ClassVar[tuple[str, ...]] = ("control",)
    sends: ClassVar[tuple[str, ...]] = ("control",)

    def init(self, size: int) -> State:
        return {}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        raise NotImplementedError


class Tracking(LocalAlgorithm):
    """Sends changes of a second vector, and gets that vector with the model, as SCAFFOLD does."""

    receives: ClassVar[tuple[str, ...]] = ("control",)
    sends: ClassVar[tuple[str, ...]] = ("control",)

    def init(self, size: int) -> State:
        return {}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        raise NotImplementedError

    def handed_on(self, name: str, before: Vector, aggregate: Vector, share: float) -> Vector:
        assert name == "control"
        return (before + share * aggregate.astype(np.float64)).astype(np.float32)


class Deaf(Controlled):
    """Receives what nobody sends."""

    receives: ClassVar[tuple[str, ...]] = ("control", "rest")


MEDIAN = Entry("rule", "toy-median", Median, MedianOptions)
HEAVY = Entry("server", "toy-heavy", Heavy, HeavyOptions)
HALVES = Entry("codec", "toy-halves", Halves)
CONTROLLED = Entry("local", "toy-controlled", Controlled)
CAREFUL = Entry("server", "toy-careful", Careful)
TRACKING = Entry("local", "toy-tracking", Tracking)
NAMELESS: Entry[Any] = Entry("rule", "toy-nameless", Nameless)
DEAF = Entry("local", "toy-deaf", Deaf)
TOYS = (MEDIAN, HEAVY, HALVES, CONTROLLED, DEAF, NAMELESS, CAREFUL, TRACKING)
NAMES = tuple(f"tests.aggregator.toys:{name}" for name in ("MEDIAN", "HEAVY", "HALVES", "CONTROLLED"))
"""As `extensions` of federation.toml."""
