"""The slow twins of robust rules: from bounded updates to a vector, in Python's floats, by their papers.

They share no code with production's rules. Sums are in the order that these state, so that each bit is the
same.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from math import fsum
from typing import Any

import numpy as np

from fedge.wire.topics import lane_of
from fleet.simulator.twins import Counted, Numbers, length, single

CENTER = "rule/center"
"""The name of the state of `centered-clipping`, among those of a round."""
BUCKET = 2
"""The updates of a group of `bucketing`."""
Rows = Sequence[Numbers]
State = Mapping[str, Numbers]


def fewest(name: str, f: int, pre: str) -> int:
    """The fewest updates of which a rule keeps its promise with f liars."""
    rows = {"krum": 2 * f + 3, "multi-krum": 2 * f + 3}.get(name, 2 * f + 1)
    return BUCKET * (rows - 1) + 1 if pre == "bucketing" else rows


def combined(
    options: Mapping[str, Any], parts: Sequence[Counted], base: Numbers, state: State
) -> tuple[Numbers, State]:
    """What a robust rule makes of bounded updates, and its next state.

    Args:
        options: name, f and pre.
        parts: the bounded updates, at least one.
        base: what they began from.
        state: the rule's; empty before the first round.
    """
    known = sorted(parts, key=lambda part: (lane_of(part.device), part.device))
    rows: Rows = [part.vector for part in known]
    weights = [float(part.weight) for part in known]
    f = min(options["f"], (len(rows) - 1) // 2)
    if options["pre"] == "nnm":
        near = [_nearest(rows, _ties(rows, weights), row, len(rows) - f) for row in range(len(rows))]
        weights = [sum(weights[k] for k in some) / len(some) for some in near]
        rows = [[fsum(column) / len(some) for column in _columns(rows, some)] for some in near]
    elif options["pre"] == "bucketing":
        groups = _groups(len(rows), base)
        weights = [sum(weights[k] for k in some) / len(some) for some in groups]
        rows = [[sum(column) / len(some) for column in _columns(rows, some)] for some in groups]
    f = min(options["f"], (len(rows) - 1) // 2)
    if options["name"] == "centered-clipping":
        return _clipped(rows, base, state)
    if options["name"] == "krum":
        return [single(w) for w in rows[_best(rows, weights, f)]], {}
    cut = f if options["name"] == "trimmed-mean" else (len(rows) - 1) // 2
    return [single(_middle(sorted(column), cut)) for column in zip(*rows, strict=True)], {}


def _middle(ordered: Numbers, cut: int) -> float:
    """The mean of what is left of sorted values without so many at both ends."""
    left = ordered[cut : len(ordered) - cut]
    return sum(left[1:], left[0]) / len(left)


def _columns(rows: Rows, some: Sequence[int]) -> Sequence[tuple[float, ...]]:
    return list(zip(*(rows[k] for k in some), strict=True))


def _square(a: Numbers, b: Numbers) -> float:
    return fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def _ties(rows: Rows, weights: Numbers) -> list[int]:
    """The rows by the digest of their entries and n_k."""

    def digest(row: int) -> bytes:
        found = hashlib.sha256(np.array([w + 0.0 for w in rows[row]]).astype("<f8").tobytes())
        found.update(np.array([weights[row]]).astype("<f8").tobytes())
        return found.digest()

    return sorted(range(len(rows)), key=digest)


def _nearest(rows: Rows, ties: Sequence[int], row: int, number: int) -> list[int]:
    """This many rows that are nearest to one, itself included."""
    far: Callable[[int], float] = lambda k: -1.0 if k == row else _square(rows[row], rows[k])  # noqa: E731 # a key
    return sorted(ties, key=far)[:number]


def _best(rows: Rows, weights: Numbers, f: int) -> int:
    """The row that Krum chooses: the one with the least sum of squared distances to its n - f - 1 nearest."""
    ties = _ties(rows, weights)

    def score(row: int) -> float:
        squares = sorted(_square(rows[row], rows[k]) for k in ties if k != row)
        return sum(squares[: max(0, len(rows) - f - 1)])

    return min(ties, key=score)


def _groups(number: int, base: Numbers) -> list[list[int]]:
    """The rows of each bucket: in an order that is drawn from the base."""
    drawn = hashlib.sha256(b"bucketing/1\n" + np.array(base).astype("<f4").tobytes()).digest()
    order = sorted(range(number), key=lambda k: hashlib.sha256(drawn + k.to_bytes(8, "big")).digest())
    return [order[start : start + BUCKET] for start in range(0, number, BUCKET)]


def _clipped(rows: Rows, base: Numbers, state: State) -> tuple[Numbers, State]:
    """Centered clipping, with the median distance as the radius, in one iteration."""
    before = state.get(CENTER, [0.0] * len(base))
    point = [w + c for w, c in zip(base, before, strict=True)]
    far = [length(point, row) for row in rows]
    radius = sorted(far)[(len(far) - 1) // 2]
    factors = [1.0 if each <= radius else radius / each for each in far]
    made = []
    for i, middle in enumerate(point):
        total = 0.0
        for row, factor in zip(rows, factors, strict=True):
            total += factor * (row[i] - middle)
        made.append(middle + total / len(rows))
    center = [single(w - b) for w, b in zip(made, base, strict=True)]
    return [single(w) for w in made], {CENTER: center}
