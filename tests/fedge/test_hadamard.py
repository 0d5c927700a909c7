"""The Walsh-Hadamard transform against its matrix, the rotation, and the division of a vector into blocks."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedge.algorithms.codecs import hadamard
from fedge.algorithms.codecs.hadamard import LARGEST, SMALLEST, Part, Signs


def matrix_of(rows: int) -> np.ndarray:
    """H by its entries: (-1) to the number of bits that row and column have in common."""
    common = np.arange(rows)[:, None] & np.arange(rows)
    odd = np.array([[int(entry).bit_count() & 1 for entry in row] for row in common])
    return (1 - 2 * odd).astype(np.float32)


def bits(signs: np.ndarray) -> np.ndarray:
    """The bits of signs, 1 for -1."""
    return np.unpackbits(signs, bitorder="little")


def transformed(matrix: np.ndarray) -> np.ndarray:
    out = np.ascontiguousarray(matrix, np.float32).copy()
    hadamard.transform(out, np.full_like(out, np.nan))
    return out


@pytest.mark.parametrize("rows", [1, 2, 4, 8, 64, 128])
@pytest.mark.parametrize("columns", [1, 3])
def test_the_transform_is_the_product_with_the_matrix(rows: int, columns: int) -> None:
    """Of integers, so that both are exact: at most 128 · 9."""
    x = np.random.default_rng(rows).integers(-9, 10, (rows, columns)).astype(np.float32)
    assert (transformed(x) == matrix_of(rows) @ x).all()


def test_the_matrix_of_four_as_papers_print_it() -> None:
    assert transformed(np.eye(4)).tolist() == [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]


@pytest.mark.parametrize("rows", [64, 512, LARGEST])
def test_twice_is_d_times_and_lengths_grow_by_the_root_of_d(rows: int) -> None:
    """H H = d I. Each of the log₂ d ≤ 12 stages rounds once: at most 12 · 2^-24 of the length each time."""
    x = np.random.default_rng(1).normal(size=(rows, 2)).astype(np.float32)
    y = transformed(x)
    length = np.linalg.norm(x.astype(float))
    assert np.linalg.norm(y.astype(float)) == pytest.approx(length * rows**0.5, rel=12 * 2**-24)
    assert np.linalg.norm(transformed(y).astype(float) - float(rows) * x) <= 24 * 2**-24 * rows * length


@pytest.mark.parametrize("shape", [(3, 1), (6, 2), (12, 1)])
def test_only_powers_of_two_are_transformed(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=str(shape[0])):
        transformed(np.zeros(shape))


def test_a_strided_matrix_or_another_scratch_is_refused() -> None:
    matrix = np.zeros((4, 4), np.float32)
    with pytest.raises(ValueError, match="contiguous"):
        hadamard.transform(matrix[:, ::2], np.zeros((4, 2), np.float32))
    with pytest.raises(ValueError, match="contiguous"):
        hadamard.transform(matrix, np.zeros((4, 3), np.float32))


def test_the_rotation_is_orthogonal_and_inverted_by_its_transpose() -> None:
    """(d R)(d R)ᵀ = d² I: of the unit vectors all is an integer of at most 64² = 4096, and exact."""
    rows = Signs(7).draw(Part(0, SMALLEST, SMALLEST, 1))
    first, second = (np.repeat(np.uint8(255) * bits(signs), SMALLEST // 8) for signs in rows)
    identity = np.eye(SMALLEST, dtype=np.float32)
    there, back, scratch = identity.copy(), identity.copy(), np.empty_like(identity)
    hadamard.rotate(there, scratch, first, second)
    hadamard.rotate_back(back, scratch, first, second)
    assert (back == there.T).all()
    assert (there @ there.T == SMALLEST**2 * identity).all()


def test_two_transforms_of_signs_are_exact_in_the_largest_block() -> None:
    """All signs equal: H (1, …) = (d, 0, …), and H of that is d everywhere. Then random ones, in float64."""
    none = np.zeros(LARGEST // 8, np.uint8)
    signs = transformed(np.eye(LARGEST, 1))  # the first column of H: all 1
    hadamard.rotate_back(signs, np.empty_like(signs), none, none)
    assert (signs == LARGEST).all()  # D₁ H D₂ H 1 = H (d, 0, …)
    x = np.random.default_rng(3).choice([-1.0, 1.0], (LARGEST, 2)).astype(np.float32)
    part = Part(0, 2 * LARGEST, LARGEST, 2)
    masks = Signs(11).draw(part)
    exact, found = x.astype(float), x.copy()
    hadamard.rotate(found, np.empty_like(found), *masks)
    for mask in masks:
        exact *= 1.0 - 2.0 * bits(mask).reshape(exact.shape)
        half = LARGEST // 2
        while half:
            pairs = exact.reshape(-1, 2, half * 2)
            exact = np.stack((pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]), axis=1).reshape(-1, 2)
            half //= 2
    assert np.array_equal(found, exact)


def test_the_signs_are_the_same_on_every_machine() -> None:
    """The first word of PCG64(0), its lowest bit first.

    `default_rng(0).random()` is known to be 0.6369616873214543: the word's upper 53 bits, as a fraction.
    """
    first, second = Signs(0).draw(Part(0, 64, 64, 1))
    word = sum(int(bit) << place for place, bit in enumerate(bits(first)))
    assert word == 0xA30F_EBCF_D9C2_825F
    assert (word >> 11) / 2**53 == 0.6369616873214543
    assert first.shape == second.shape == (8,)
    assert (first != second).any()


@pytest.mark.parametrize("columns", [1, 9, 64])
def test_flipping_multiplies_each_entry_by_its_sign(columns: int) -> None:
    """9 and 64 columns of 4096 are more than one chunk of signs, 9 are no whole number of them."""
    part = Part(0, LARGEST * columns, LARGEST, columns)
    signs, _ = Signs(1).draw(part)
    matrix = np.arange(1, part.places + 1, dtype=np.float32).reshape(part.rows, part.columns)
    expected = matrix * (1 - 2.0 * bits(signs).reshape(matrix.shape))
    hadamard.flip(matrix, signs)
    assert (matrix == expected).all()


def test_signs_are_drawn_anew_for_each_part() -> None:
    signs, part = Signs(5), Part(0, 128, 64, 2)
    drawn = [mask.tobytes() for _ in range(3) for mask in signs.draw(part)]
    assert len(set(drawn)) == 6
    assert Signs(5).draw(part)[0].tobytes() == drawn[0]
    assert Signs(6).draw(part)[0].tobytes() != drawn[0]


@given(st.integers(0, 2_000_000))
def test_the_parts_cover_the_vector_once(size: int) -> None:
    start = 0
    found = list(hadamard.parts(size))
    for part in found:
        assert part.start == start
        assert SMALLEST <= part.rows <= LARGEST
        assert 0 < part.entries <= part.places
        start = part.end
    assert start == size
    assert all(part.entries == part.places for part in found[:-1]), "only the last one is filled up"
    assert hadamard.counts(size) == (sum(part.columns for part in found), sum(part.places for part in found))


def test_what_blocks_cost_for_the_2nn_of_mnist() -> None:
    """784 · 200 + 200 + 200 · 200 + 200 + 200 · 10 + 10 = 199,210: 22 places too many, and 51 numbers."""
    assert hadamard.counts(199_210) == (51, 199_232)


def test_a_size_that_nobody_has_takes_no_time() -> None:
    assert hadamard.counts(2**62) == (2**50, 2**62)


def test_column_sums_keep_their_digits() -> None:
    """4096 times 0.1 as float32: added one after the other, the sum is off by more than 1e-5 of itself."""
    column = np.full((LARGEST, 3), 0.1, np.float32)
    assert hadamard.column_sums(column) == pytest.approx(LARGEST * float(np.float32(0.1)), rel=1e-7)


def test_the_examples_in_its_docstrings() -> None:
    assert doctest.testmod(hadamard) == (0, 4)
