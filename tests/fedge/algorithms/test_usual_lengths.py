"""Norm bounding and centered clipping without a length of their own: the round's median one counts."""

from statistics import median_high
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from fedge.algorithms.registry import RULES
from fedge.algorithms.rules import rows
from fedge.testing.rule import SomeUpdates
from tests.fedge.algorithms.test_robust_rules import rounds

Array = Any
NAMES = ("centered-clipping", "norm-bound")


def moved(name: str, matrix: Array, **options: Any) -> Array:
    """How far a rule moves a model of zeros, from its first state."""
    rule, size = RULES.make(name, options), matrix.shape[1]
    vectors = {f"pi-{k}": (row.astype(np.float32).copy, 1) for k, row in enumerate(matrix)}
    return rule.aggregate(SomeUpdates(vectors, size), np.zeros(size, np.float32), rule.init(size)).vector


@pytest.mark.parametrize("name", NAMES)
def test_f_liars_move_it_by_their_part_of_an_honest_length(name: str) -> None:
    """With a and b the shortest and the longest honest length: in place of the lies, copies of the first
    one."""

    @settings(max_examples=60, deadline=None)
    @given(rounds())
    def check(drawn: tuple[Array, int]) -> None:
        matrix, f = drawn
        n = len(matrix)
        honest = matrix[: n - f]
        lengths = np.linalg.norm(honest.astype(np.float64), axis=1)
        a, b = lengths.min(), lengths.max()
        lied = moved(name, matrix, f=f)
        unit = 1e-5 * (1 + b)
        assert np.linalg.norm(lied) <= b + unit
        true = moved(name, np.concatenate([honest, np.repeat(honest[:1], f, axis=0)]), f=f)
        assert np.linalg.norm(lied - true) <= 2 * f * b / n + (b - a) * (n - f) / n + unit

    check()


def test_a_length_that_liars_choose_would_break_that(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = np.concatenate([np.eye(4), np.full((1, 4), 1e6)])
    assert np.linalg.norm(moved("norm-bound", matrix)) <= 1
    monkeypatch.setattr(rows, "median_low", max)
    assert np.linalg.norm(moved("norm-bound", matrix)) > 1e5


def test_the_median_is_the_lower_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two equal numbers the upper one would let half of the updates choose it."""
    matrix = np.array([[1.0, 0.0], [0.0, 1e6]])
    assert np.linalg.norm(moved("norm-bound", matrix)) <= 1
    monkeypatch.setattr(rows, "median_low", median_high)
    assert np.linalg.norm(moved("norm-bound", matrix)) > 1e5


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_of_the_weights_does_not_matter(name: str) -> None:
    matrix = np.random.default_rng(1).normal(size=(9, 5))
    for scale in (2.0**-20, 2.0**20):
        assert moved(name, scale * matrix) == pytest.approx(scale * moved(name, matrix), rel=1e-6)
        assert moved(
            name, scale * matrix, **{"radius" if name == NAMES[0] else "length": 1.0}
        ) != pytest.approx(scale * moved(name, matrix), rel=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_where_most_devices_do_not_move_the_model_does_not(name: str) -> None:
    matrix = np.zeros((5, 3))
    matrix[3:] = 1e6
    assert not moved(name, matrix).any()
