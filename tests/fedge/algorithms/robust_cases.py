"""Rounds with liars at the worst places, and how far a robust rule is from its slow twin in them."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fedge.algorithms.registry import RULES
from fedge.testing.rule import SomeUpdates
from tests.fedge.algorithms.robust_twins import twin

Array = Any
CASES = ((5, 1), (7, 1), (7, 2), (11, 2), (15, 3), (19, 4))
"""n and f; Bulyan needs n ≥ 4 f + 3."""
P = 3
UNITS = 512
"""Entries are multiples of one part of so many: float32 holds them, and all sums are exact, so that ties are
broken alike."""


def lies(honest: Array, f: int) -> Iterator[Array]:
    """What f liars send where it moves a wrong rule most, of shape (f, p)."""
    middle, spread = honest.mean(axis=0), honest.std(axis=0)
    yield np.repeat([middle + 1e4], f, axis=0)  # far off, at one end
    yield np.array([middle + 1e4 * (-1) ** k * (k + 1) for k in range(f)])  # at both ends
    yield np.repeat([middle + 1.5 * spread], f, axis=0)  # close together, within the spread of the honest
    yield np.repeat([honest.max(axis=0)], f, axis=0)  # at the edge
    yield honest[:f] + np.array([*[0.0] * (P - 1), 1e4])  # in one coordinate
    yield np.repeat([honest[0]], f, axis=0)  # copies of one device
    yield np.repeat([-3 * middle], f, axis=0)  # against the direction of the others


def rounds(needed: Callable[[int], int]) -> Iterator[tuple[Array, list[int], Array, int]]:
    """Updates (n, p), n_k, the base and f; the liars stand at the beginning, at the end, or in the middle."""
    for n, f in CASES:
        if n < needed(f):
            continue
        rng = np.random.default_rng([n, f])
        for number in range(7):
            honest = rng.normal(rng.normal(size=P), (0.1, 1.0, 3.0), (n - f, P))
            sent = list(lies(honest, f))[number]
            place = (0, n - f, (n - f) // 2)[number % 3]
            matrix = np.round(np.concatenate([honest[:place], sent, honest[place:]]) * UNITS) / UNITS
            base = rng.normal(size=P).astype(np.float32)
            yield matrix, [int(k) for k in rng.integers(1, 50, n)], base, f


def off(name: str, options: dict[str, Any]) -> float:
    """The farthest that a rule is from its twin, relative to the entries, over all cases."""
    farthest = 0.0
    for matrix, samples, base, f in rounds(lambda f: RULES.make(name, {"f": f}).needed(f)):
        rule = RULES.make(name, {"f": f, **options})
        vectors = {
            f"pi-{k}": (row.astype(np.float32).copy, n)
            for k, (row, n) in enumerate(zip(matrix, samples, strict=True))
        }
        made = rule.aggregate(SomeUpdates(vectors, P), base, rule.init(P)).vector
        known = {"radius" if key == "length" else key: value for key, value in options.items()}
        expected = twin(name, f, **known)(matrix, samples, base)
        unit = 1 + np.abs(expected).max()
        farthest = max(farthest, float(np.abs(made - expected).max() / unit))
    return farthest
