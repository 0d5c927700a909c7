"""`check_rule`: the laws of `fedge.algorithms.protocols.Rule`."""

import tracemalloc
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.contribution import LANES, Contribution, order
from fedge.algorithms.protocols import Combined, Rule
from fedge.algorithms.registry import Entry
from fedge.testing.laws import Array, law, maker, other_randomness, require, require_vector, same
from fedge.wire.topics import lane_of

Vector = NDArray[np.float32]
Twin = Callable[[NDArray[np.float64], Sequence[int], Vector], Array]
"""A slow and obvious function with the same result: from all updates (n, p), their n_k and the base, to the
vector (p,)."""

NUMBERS = (1, 2, 3, 5, 20)
SIZES = (1, 7, 300)
STEPS = 40
"""The most steps that a device says it took, where they are not all 1."""
FEW, MANY, WIDE = 64, 256, 2048
"""Updates of two rounds, and entries of each, by which memory is measured."""
MOST = 64 << 20
"""The most bytes that a rule's own `memory` may be."""


class SomeUpdates:
    """The admitted updates of a round; each iteration makes them anew, one at a time.

    Args:
        vectors: by device, what makes the vector, and n_k.
        size: entries of each vector.
        steps: by device, the steps that it took; without it each took 1.
    """

    def __init__(
        self,
        vectors: Mapping[str, tuple[Callable[[], Vector], int]],
        size: int,
        steps: Mapping[str, int] | None = None,
    ) -> None:
        self.size = size
        self._vectors = {device: vectors[device] for device in sorted(vectors, key=order)}
        self._steps = dict.fromkeys(vectors, 1) if steps is None else steps
        self._live: list[weakref.ref[Any]] = []
        self.held = 0
        """The most vectors that were alive at once."""
        self.watched: list[tuple[Vector, bytes]] | None = None
        """Where it is a list: each vector that was given, and its bits then."""

    def __len__(self) -> int:
        return len(self._vectors)

    def lanes(self, lanes: range = LANES) -> Iterator[Contribution]:
        """As `fedge.algorithms.protocols.Updates.lanes`."""
        for device, (make, samples) in self._vectors.items():
            if lane_of(device) not in lanes:
                continue
            vector = make()
            self._live = [seen for seen in self._live if seen() is not None] + [weakref.ref(vector)]
            self.held = max(self.held, len(self._live))
            if self.watched is not None:
                self.watched.append((vector, vector.tobytes()))
            contribution = Contribution(device, samples, vector, self._steps[device])
            del vector
            yield contribution
            del contribution


def check_rule(
    rule: Entry[Rule] | Callable[[], Rule],
    options: Mapping[str, Any] | None = None,
    *,
    twin: Twin | None = None,
    between: bool = True,
    order: bool = True,
    tolerance: float = 1e-5,
    seed: int = 0,
) -> None:
    """Check a rule against its protocol.

    The laws, by the names that `BrokenLaw.law` has:

    * `version`: it has one, as `mean/2`.
    * `vector`: the result is finite float32 of shape (size,).
    * `arguments`: neither the base nor an update is changed.
    * `set`: the same updates give the same bits: in another object, the second time, and when somebody went
      through a part of them before.
    * `order`: which device sent which update does not matter, but for rounding: so no place in the order is
      worth more than another.
    * `alone`: one update alone, of one step, is the result, but for rounding.
    * `between`: each entry lies between the smallest and the largest of the updates', if each took one step.
      If they took more, a rule may go farther from the base, by a factor up to the most steps of a device.
    * `twin`: it agrees with its slow and obvious twin, if each took one step.
    * `memory`: it does not hold all updates, and its memory does not grow with them beyond its own `memory`,
      which is at most 64 MiB.
    * `fewest`: it is a whole number, 1 or more.
    * `counted`: the parts of updates that it says counted are those of this round's devices, and in [0, 1].

    Args:
        rule: its entry, or a function that makes one.
        options: the options of the entry.
        twin: the slow and obvious way to the same result, if there is one.
        between: whether the laws `alone` and `between` hold; noise would break them.
        order: whether the law `order` holds; a rule that groups devices at random breaks it.
        tolerance: what counts as rounding, relative to the largest entry.
        seed: the seed of the updates.

    Raises:
        BrokenLaw: the rule breaks a law; the text says which and how.
    """
    make = maker(rule, options)
    version = getattr(make(), "version", None)
    named = isinstance(version, str) and version.partition("/")[2]
    require(named, "version", f"`version` is {version!r}, expected a name and a version, as 'mean/2'")
    fewest = getattr(make(), "fewest", None)
    require(type(fewest) is int and fewest >= 1, "fewest", f"`fewest` is {fewest!r}, expected 1 or more")
    for size in SIZES:
        for number in NUMBERS:
            rng = np.random.default_rng([seed, size, number])
            matrix = rng.normal(rng.normal(size=size), 1.0, (number, size)).astype(np.float32)
            samples = [int(n) for n in rng.integers(1, 200, number)]
            base = rng.normal(size=size).astype(np.float32)
            for what, updates in _rounds(matrix, base):
                ones, several = [1] * number, [int(n) for n in rng.integers(1, STEPS, number)]
                for steps, how in ((ones, what), (several, f"{what}, of several steps each")):
                    where = f"{number} updates of {size}{how}"
                    _check_round(make, updates, samples, steps, base, where, twin, between, order, tolerance)
    _check_memory(make, seed)


def _rounds(matrix: Vector, base: Vector) -> Iterator[tuple[str, Vector]]:
    """Ordinary updates, and degenerate ones."""
    yield "", matrix
    yield ", all the same", np.repeat(matrix[:1], len(matrix), axis=0)
    yield ", all as the base", np.repeat(base[None], len(matrix), axis=0)
    yield ", very large", (1e36 * np.sign(matrix)).astype(np.float32)


def _updates(matrix: Vector, samples: Sequence[int], steps: Sequence[int], shift: int = 0) -> SomeUpdates:
    """Updates of devices whose names are moved on by `shift`."""
    names = [f"pi-{(k + shift) % len(matrix)}" for k in range(len(matrix))]
    vectors = {name: (matrix[k].copy, samples[k]) for k, name in enumerate(names)}
    return SomeUpdates(vectors, matrix.shape[1], dict(zip(names, steps, strict=True)))


def _check_round(
    make: Callable[[], Rule],
    matrix: Vector,
    samples: Sequence[int],
    steps: Sequence[int],
    base: Vector,
    where: str,
    twin: Twin | None,
    between: bool,
    order: bool,
    tolerance: float,
) -> None:
    updates, given, rule = _updates(matrix, samples, steps), base.copy(), make()
    updates.watched = []
    combined: Any
    with law("vector", f"{where}: aggregate"):
        combined = rule.aggregate(updates, base, rule.init(len(base)))
    require(isinstance(combined, Combined), "vector", f"{where}: the result is not a `Combined`")
    result = combined.vector
    require_vector(result, matrix.shape[1], "vector", f"{where}: the result")
    require(np.isfinite(result).all(), "vector", f"{where}: the result is not finite")
    known = {each.device for each in updates.lanes()}
    right = combined.counted.keys() <= known and all(0 <= part <= 1 for part in combined.counted.values())
    require(right, "counted", f"{where}: `counted` is {dict(combined.counted)}")
    untouched = same(given, base) and all(vector.tobytes() == bits for vector, bits in updates.watched)
    require(untouched, "arguments", f"{where}: the base or an update is changed")

    begun = _updates(matrix, samples, steps)
    next(begun.lanes())  # somebody looked at the first, and no further
    with other_randomness(1):
        others = [
            each.aggregate(some, base, each.init(len(base))).vector
            for each, some in ((rule, updates), (make(), begun), (rule, begun))
        ]
    require(all(same(result, other) for other in others), "set", f"{where}: the same set gives other bits")

    farthest = max(steps)
    unit = tolerance * farthest * max(1.0, float(np.abs(matrix).max()))
    for shift in range(1, min(len(matrix), 4) if order else 1):
        shifted = _updates(matrix, samples, steps, shift)
        other = make().aggregate(shifted, base, make().init(len(base))).vector
        off = float(np.abs(other - result).max())
        require(off <= unit, "order", f"{where}: with the devices' names exchanged it is off by {off:g}")
    if between:
        low, high = matrix.min(axis=0), matrix.max(axis=0)
        low, high = (np.array((end, base + farthest * (end - base))) for end in (low, high))
        inside = bool(((low.min(axis=0) - unit <= result) & (result <= high.max(axis=0) + unit)).all())
        alone = len(matrix) == 1
        text = (
            "is not the result" if alone else "have a result that is not between the smallest and the largest"
        )
        require(inside, "alone" if alone else "between", f"{where}: {text}")
    if twin is not None and farthest == 1:
        off = float(np.abs(twin(matrix.astype(np.float64), samples, base) - result).max())
        require(off <= unit, "twin", f"{where}: it is off by {off:g} from its twin")


def _check_memory(make: Callable[[], Rule], seed: int) -> None:
    base, peaks = np.zeros(WIDE, np.float32), []
    for number in (FEW, MANY):
        updates = SomeUpdates({f"pi-{k}": (_drawn(seed, k), 1 + k % 7) for k in range(number)}, WIDE)
        tracemalloc.start()
        try:
            make().aggregate(updates, base, make().init(WIDE))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        text = f"of {number} updates it holds {updates.held} at once, expected a few"
        require(updates.held <= FEW // 2, "memory", text)
    few, many = peaks
    text = f"{FEW} updates take {few} bytes of memory, {MANY} take {many}: it grows with the fleet"
    own = make().memory
    require(0 <= own <= MOST, "memory", f"`memory` is {own}, expected 0 to {MOST} bytes")
    require(many <= 2 * few + 200 * MANY + own, "memory", text)


def _drawn(seed: int, k: int) -> Callable[[], Vector]:
    return lambda: np.random.default_rng([seed, k]).standard_normal(WIDE, np.float32)
