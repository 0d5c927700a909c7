"""Broken variants of the robust rules do not give the answers of the twins.

Each variant differs from its rule in one step of the paper. One that agreed with the twin in all cases would
mean that the cases do not test that step.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.rules import (
    bulyan,
    centered_clipping,
    geometric_median,
    krum,
    median,
    multi_krum,
    norm_bound,
    robust,
    trimmed_mean,
)
from fedge.algorithms.rules import rows as rows_module
from fedge.algorithms.rules.pairs import Pairs, pairs
from tests.fedge.algorithms.robust_cases import off
from tests.fedge.algorithms.robust_twins import WAYS

Array = Any
Patch = Callable[[pytest.MonkeyPatch], None]


def scored(others: Callable[[int, int], int], power: float = 1.0, place: int = 0) -> Patch:
    """Krum's scores with another number of neighbours, another power of distances, or another order."""

    def ranked(found: Pairs, f: int, among: Sequence[int]) -> list[int]:
        near = np.sort(found.squares[np.ix_(among, among)] ** power, axis=1)
        scores = near[:, : 1 + max(0, others(len(among), f))].sum(axis=1)
        order = [among[k] for k in np.argsort(scores, kind="stable")]
        return order[place:] + order[:place]

    def patch(with_: pytest.MonkeyPatch) -> None:
        for module in (krum, multi_krum):
            with_.setattr(module, "ranked", ranked)
        with_.setattr(bulyan, "_chosen", lambda found, f: one_by_one(found, f, ranked))

    return patch


def one_by_one(found: Pairs, f: int, ranked: Callable[[Pairs, int, Sequence[int]], list[int]]) -> list[int]:
    """What Bulyan chooses, in the words of the paper."""
    left = list(found.order)
    chosen: list[int] = []
    while len(chosen) < len(found.order) - 2 * f:
        chosen.append(ranked(found, f, left)[0])
        left.remove(chosen[-1])
    return chosen


def test_bulyan_chooses_as_krum_would_one_by_one() -> None:
    rng = np.random.default_rng(5)
    for n, f in ((11, 2), (30, 5), (60, 14)):
        squares = rng.integers(0, 9, (n, n)).astype(float)
        found = Pairs(np.triu(squares, 1) + np.triu(squares, 1).T, tuple(rng.permutation(n).tolist()))
        assert bulyan._chosen(found, f) == one_by_one(found, f, krum.ranked)


def at_once(found: Pairs, f: int) -> list[int]:
    return krum.ranked(found, f, found.order)[: len(found.order) - 2 * f]


def near_the_mean(ordered: Array, number: int) -> Array:
    far = np.argsort(np.abs(ordered - ordered.mean(axis=0)), axis=0, kind="stable")[:number]
    return np.sort(np.take_along_axis(ordered, far, axis=0), axis=0)


def with_f(change: int) -> Patch:
    """The rule takes f for so many more than are set."""

    def patch(with_: pytest.MonkeyPatch) -> None:
        for kind in (robust.Robust, bulyan.Bulyan):
            right = kind.withstood
            with_.setattr(
                kind, "withstood", staticmethod(lambda n, f, right=right: max(0, right(n, f) + change))
            )

    return patch


def set_(owner: Any, name: str, value: Any) -> Patch:
    return lambda with_: with_.setattr(owner, name, value)


def mixed(kept: Callable[[list[int], int], list[int]], change: int = 0) -> Patch:
    """Nearest neighbour mixing of other neighbours."""

    def neighbourhoods(rows: Any, f: int, base: Array) -> list[list[int]]:
        near = pairs(rows, base).nearest(rows.number - f + change)
        return [kept(some, row) for row, some in enumerate(near)]

    return set_(robust, "neighbourhoods", neighbourhoods)


def grouped(change: Callable[[list[list[int]]], list[list[int]]]) -> Patch:
    right = robust.buckets
    return set_(robust, "buckets", lambda number, base, size: change(right(number, base, size)))


def dropped(rows: Any, point: Array, factors: Sequence[float]) -> Array:
    return rows_module.clipped_mean(rows, point, [float(factor == 1) for factor in factors])


def summed(rows: Any, point: Array, factors: Sequence[float]) -> Array:
    return point + rows.number * (rows_module.clipped_mean(rows, point, factors) - point)


def squared(rows: Any, point: Array) -> list[float]:
    return [far**2 for far in rows_module.distances(rows, point)]


def unweighted(rows: Any, weights: Sequence[float]) -> Array:
    return rows_module.weighted_mean(rows, [w / n for w, n in zip(weights, rows.weights, strict=True)])


def lower(ordered: Array) -> Array:
    return ordered[(len(ordered) - 1) // 2]


def mean_of_all(rows: Any) -> Array:
    return rows_module.weighted_mean(rows, [1.0] * rows.number)


KRUMS = ("krum", "multi-krum", "bulyan")
BROKEN: list[tuple[str, str, dict[str, Any], Patch]] = [
    *((f"{name}: the second best", name, {}, scored(lambda n, f: n - f - 1, place=1)) for name in KRUMS),
    *((f"{name}: n - f - 2 neighbours", name, {}, scored(lambda n, f: n - f - 2)) for name in KRUMS),
    *((f"{name}: n - f neighbours", name, {}, scored(lambda n, f: n - f)) for name in KRUMS),
    *((f"{name}: all neighbours", name, {}, scored(lambda n, f: n)) for name in KRUMS),
    *((f"{name}: distances, not squared", name, {}, scored(lambda n, f: n - f - 1, 0.5)) for name in KRUMS),
    *((f"{name}: f - 1 for f", name, {}, with_f(-1)) for name in WAYS if name in (*KRUMS, "trimmed-mean")),
    ("bulyan: all chosen at once", "bulyan", {}, set_(bulyan, "_chosen", at_once)),
    ("bulyan: nearest to the mean", "bulyan", {}, set_(bulyan, "_nearest", near_the_mean)),
    ("bulyan: not trimmed", "bulyan", {}, set_(bulyan, "_nearest", lambda ordered, number: ordered)),
    ("median: the lower one", "median", {"pre": "bucketing"}, set_(median, "median_of", lower)),
    ("median: the mean", "median", {}, set_(median, "median_of", lambda ordered: ordered.mean(axis=0))),
    (
        "trimmed-mean: the first value is lost",
        "trimmed-mean",
        {},
        set_(trimmed_mean, "mean_of_slices", lambda parts: rows_module.mean_of_slices(parts[1:])),
    ),
    ("geometric-median: no n_k", "geometric-median", {}, set_(geometric_median, "weighted_mean", unweighted)),
    ("geometric-median: squares", "geometric-median", {}, set_(geometric_median, "distances", squared)),
    (
        "geometric-median: begins at the mean",
        "geometric-median",
        {"steps": 2},
        set_(geometric_median, "median", mean_of_all),
    ),
    (
        "centered-clipping: drops what is far",
        "centered-clipping",
        {},
        set_(centered_clipping, "clipped_mean", dropped),
    ),
    ("centered-clipping: a sum", "centered-clipping", {}, set_(centered_clipping, "clipped_mean", summed)),
    ("norm-bound: drops what is far", "norm-bound", {}, set_(norm_bound, "clipped_mean", dropped)),
    ("norm-bound: squares", "norm-bound", {}, set_(norm_bound, "distances", squared)),
    *(
        (f"nnm with {name}: {what}", name, {"pre": "nnm"}, patch)
        for name in ("median", "krum", "geometric-median")
        for what, patch in (
            ("off", mixed(lambda some, row: [row])),
            ("n - f - 1 neighbours", mixed(lambda some, row: some, -1)),
            ("without the row itself", mixed(lambda some, row: [k for k in some if k != row])),
        )
    ),
    *(
        (f"bucketing with {name}: {what}", name, {"pre": "bucketing"}, patch)
        for name in ("median", "krum", "geometric-median")
        for what, patch in (
            ("off", grouped(lambda groups: [[row] for group in groups for row in group])),
            ("not shuffled", lambda with_: with_.setattr(robust, "buckets", in_order)),
            ("the last bucket is lost", grouped(lambda groups: groups[:-1])),
        )
    ),
]


def in_order(number: int, base: Array, size: int) -> list[list[int]]:
    return [list(range(start, min(start + size, number))) for start in range(0, number, size)]


@pytest.mark.parametrize(
    ("name", "options", "patch"), [pytest.param(*each[1:], id=each[0]) for each in BROKEN]
)
def test_a_broken_rule_does_not(
    name: str, options: dict[str, Any], patch: Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(monkeypatch)
    assert off(name, options) > 1e-3
