"""Products of matrices are the same in any order of sums, and right."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from fedge.algorithms.rules import pairs as pairs_module
from fedge.algorithms.rules.exact import add_gram, sums
from fedge.algorithms.rules.pairs import pairs
from fedge.algorithms.rules.rows import Mixed, Read, mean_of_rows
from fedge.testing.rule import SomeUpdates

Array = Any


def gram(block: Array) -> Array:
    total, spare = np.zeros((len(block), len(block))), np.empty((len(block), len(block)))
    add_gram(block.copy(), total, spare)
    return total


def drawn(rows: int, columns: int, seed: int = 0) -> Array:
    """Entries of very different sizes."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, columns)) * 10.0 ** rng.integers(-6, 6, (rows, columns))


def test_scalar_products_have_the_same_bits_in_any_order_of_the_columns() -> None:
    block = drawn(9, 1000)
    order = np.random.default_rng(1).permutation(1000)
    assert gram(block).tobytes() == gram(block[:, order]).tobytes()
    other = block[:, order] @ block[:, order].T
    assert (block @ block.T).tobytes() != other.tobytes(), "those of BLAS have not"


def test_scalar_products_are_near_the_exact_ones() -> None:
    block = drawn(5, 300)
    largest = np.abs(block).max(axis=1)
    found = gram(block)
    for i in range(5):
        for j in range(5):
            entries = zip(block[i].tolist(), block[j].tolist(), strict=True)
            exact = sum(Fraction(a) * Fraction(b) for a, b in entries)
            off = abs(float(exact - Fraction(float(found[i, j]))))
            assert off <= 300 * 2.0**-41 * largest[i] * largest[j]


def test_sums_have_the_same_bits_in_any_order_of_the_rows() -> None:
    block = drawn(200, 7)
    members = (np.random.default_rng(2).random((50, 200)) < 0.8).astype(float)
    order = np.random.default_rng(3).permutation(200)
    assert sums(members, block).tobytes() == sums(members[:, order], block[order]).tobytes()
    assert (members @ block).tobytes() != (members[:, order] @ block[order]).tobytes(), "BLAS's own do not"


@pytest.mark.parametrize("far", [1.0, 1e6, 1e36])
def test_sums_without_a_far_row_are_as_exact_as_if_it_were_not_there(far: float) -> None:
    block = np.concatenate([drawn(40, 5), np.full((1, 5), far)])
    members = np.ones((1, 41))
    members[0, 40] = 0.0
    exact = [sum(map(Fraction, column.tolist())) for column in block[:40].T]
    assert sums(members, block)[0] == pytest.approx([float(each) for each in exact], rel=1e-15)


def updates(matrix: Array) -> SomeUpdates:
    return SomeUpdates(
        {f"pi-{k}": (row.astype(np.float32).copy, 1) for k, row in enumerate(matrix)}, matrix.shape[1]
    )


def test_distances_are_right_however_many_columns_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a base as far away as weights are from zero; equal rows have the distance 0."""
    rng = np.random.default_rng(4)
    base = rng.normal(size=3000).astype(np.float32)
    matrix = base + rng.normal(size=(20, 3000)).astype(np.float32) * np.float32(1e-3)
    matrix[7] = matrix[3]
    read = Read(updates(matrix))
    rows = np.concatenate([block.copy() for _, block in read.blocks()], axis=1)
    expected = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
    for gathered in (1, 2, 3):
        monkeypatch.setattr(pairs_module, "GATHERED", gathered)
        found = pairs(read, base).squares
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-15)
        assert (found == found.T).all()
        assert np.count_nonzero(found == 0) == 20 + 2


def test_means_of_many_rows_are_those_of_each() -> None:
    read = Read(updates(drawn(30, 2000)))
    members = [[k for k in range(30) if (k + row) % 7] for row in range(30)]
    found = np.concatenate([block.copy() for _, block in Mixed(read, members).blocks()], axis=1)
    rows = np.concatenate([block.copy() for _, block in read.blocks()], axis=1)
    for row, some in enumerate(members):
        assert found[row] == pytest.approx(mean_of_rows(rows, some), rel=1e-9, abs=1e-9)
