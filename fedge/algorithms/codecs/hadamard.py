"""The Walsh-Hadamard transform, a random rotation made of it, and how a vector is divided into blocks.

The transform: Fino, Algazi 1976, "Unified Matrix Treatment of the Fast Walsh-Hadamard Transform", IEEE
Transactions on Computers C-25 (11). A rotation by signs and transforms: Ailon, Chazelle 2009, "The Fast
Johnson-Lindenstrauss Transform and Approximate Nearest Neighbors", SIAM Journal on Computing 39 (1); by
several pairs of them: Andoni, Indyk, Laarhoven, Razenshteyn, Schmidt 2015, "Practical and Optimal LSH for
Angular Distance", NeurIPS.

The transform is the product with H_d, a matrix of ±1 with H_1 = (1) and

    H_2d = ⎡ H_d   H_d ⎤
           ⎣ H_d  -H_d ⎦ ,        so that H = Hᵀ and H H = d I.

A block has d = 2^k entries. The blocks of one size are the columns of a matrix (d, n). So each stage of the
transform adds and subtracts whole rows, and its innermost loop is long.

**The rotation.** R = H D₂ H D₁ / d is orthogonal, where D₁ and D₂ are diagonal matrices of random signs. One
pair H D₁ does not suffice: of a block whose energy is in a few entries it makes a vector that is far from
normal. With x = (a, b, 0, 0), a > b > 0, the signs of H D₁ x depend on a alone, for all D₁. After two pairs
each entry of R x is a sum of d terms of about the same size, and close to normal for every x ≠ 0.

**Exactness.** Of integers of at most 2^24 / d², two transforms make only integers of at most 2^24, which
float32 holds exactly. So in blocks of at most `LARGEST` = 2^12 entries the transforms H D₂ H of a vector of
signs are exact, and the same on every machine.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST = 1 << 12
"""The most entries of a block: the largest d for which two transforms of signs are exact in float32."""
SMALLEST = 1 << 6
"""The fewest entries of a block: in smaller ones the entries of R x are not close to normal."""
COLUMNS = 64
"""The most blocks that are transformed together, so that they fit into a cache: 1 MiB in float32."""
BITS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
"""The bits of each byte, of shape (256, 8), the lowest first."""
_MASKS = BITS.astype(np.uint32) << np.uint32(31)
_CHUNK = 2_048
"""The bytes of signs that become masks at once: 64 KiB of masks, which stay in the cache."""


@dataclass(frozen=True)
class Part:
    """Blocks of the same size that are transformed together: the columns of a matrix (rows, columns).

    Entry i of the part of the vector is the matrix's entry (i // columns, i % columns).
    """

    start: int
    """The index of its first entry in the vector."""
    entries: int
    """Its entries in the vector: rows · columns, or fewer in the last part, which zeros fill up."""
    rows: int
    """The entries of each block, d: a power of two."""
    columns: int
    """The number of blocks, n."""

    @property
    def places(self) -> int:
        """The entries of the matrix."""
        return self.rows * self.columns

    @property
    def end(self) -> int:
        """The index behind its last entry in the vector."""
        return self.start + self.entries


def blocks(size: int) -> tuple[int, ...]:
    """The sizes of the blocks that are smaller than `LARGEST`, for a vector of `size` entries.

    The vector has `size // LARGEST` blocks of `LARGEST` entries. The rest is divided into powers of two, the
    largest first; what is less than `SMALLEST` is filled up with zeros to a block of `SMALLEST`.

    >>> blocks(199_210), 199_210 // LARGEST
    ((2048, 512, 64), 48)
    >>> 48 * 4096 + 2048 + 512 + 64 - 199_210
    22
    """
    rest = size % LARGEST
    powers = [1 << place for place in reversed(range(LARGEST.bit_length())) if rest >> place & 1]
    whole = [power for power in powers if power >= SMALLEST]
    return (*whole, *((SMALLEST,) if sum(whole) < rest else ()))


def parts(size: int) -> Iterator[Part]:
    """Divide a vector of `size` entries into parts, in the order of their entries.

    >>> [(part.rows, part.columns) for part in parts(300_000)]
    [(4096, 64), (4096, 9), (512, 1), (256, 1), (128, 1), (64, 1), (64, 1)]
    """
    start, many = 0, size // LARGEST
    while many:
        columns = min(many, COLUMNS)
        yield Part(start, LARGEST * columns, LARGEST, columns)
        start += LARGEST * columns
        many -= columns
    for rows in blocks(size):
        entries = min(rows, size - start)
        yield Part(start, entries, rows, 1)
        start += entries


def counts(size: int) -> tuple[int, int]:
    """The number of blocks of a vector of `size` entries, and the entries of all blocks; found without parts.

    >>> counts(199_210)
    (51, 199232)
    """
    small = blocks(size)
    return size // LARGEST + len(small), size - size % LARGEST + sum(small)


def transform(matrix: NDArray[np.float32], scratch: NDArray[np.float32]) -> None:
    """Multiply by H_d from the left, in place: log₂ d stages of additions and subtractions.

    Args:
        matrix: of shape (d, n), C-contiguous; d is a power of two.
        scratch: another array of the same shape; its contents are lost.
    """
    rows, columns = matrix.shape
    if rows & (rows - 1) or not matrix.flags.c_contiguous or scratch.shape != matrix.shape:
        raise ValueError(f"expected a contiguous matrix of 2^k rows, got {matrix.shape}, {scratch.shape}")
    given, made, half = matrix, scratch, rows // 2
    while half:
        pairs = given.reshape(-1, 2, half * columns)
        sums = made.reshape(-1, 2, half * columns)
        np.add(pairs[:, 0], pairs[:, 1], out=sums[:, 0])
        np.subtract(pairs[:, 0], pairs[:, 1], out=sums[:, 1])
        given, made, half = made, given, half // 2
    if given is not matrix:
        matrix[...] = given


def column_sums(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """The sum of each column, of shape (n,), by halves, so that rounding grows with log₂ d only.

    The contents of `matrix`, of shape (2^k, n), are lost.
    """
    half = len(matrix) // 2
    while half:
        np.add(matrix[:half], matrix[half : 2 * half], out=matrix[:half])
        half //= 2
    return matrix[0, :]


class Signs:
    """Random signs from a public seed: those of a part's D₁ and D₂, for each part in turn.

    They are the bits of PCG64, whose stream NumPy keeps the same in all versions and on all machines.
    """

    def __init__(self, seed: int) -> None:
        self._bits = np.random.PCG64(seed)

    def draw(self, part: Part) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The next two diagonals, a bit for each sign: both of shape (rows · columns / 8,)."""
        words = self._bits.random_raw(2 * part.places // 64).astype("<u8", copy=False)
        first, second = words.view(np.uint8).reshape(2, -1)
        return first, second


def flip(matrix: NDArray[np.float32], signs: NDArray[np.uint8]) -> None:
    """Multiply by a diagonal matrix of signs, in place: -1 where the bit is 1."""
    values = matrix.view(np.uint32).reshape(-1, 8)
    masks = np.empty((min(len(signs), _CHUNK), 8), np.uint32)
    for start in range(0, len(signs), _CHUNK):
        chunk = values[start : start + _CHUNK]
        flipped = masks[: len(chunk)]
        np.take(_MASKS, signs[start : start + _CHUNK], axis=0, out=flipped, mode="clip")
        np.bitwise_xor(chunk, flipped, out=chunk)


def rotate(
    matrix: NDArray[np.float32],
    scratch: NDArray[np.float32],
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
) -> None:
    """Multiply by d R = H D₂ H D₁, in place; `first` and `second` are D₁ and D₂."""
    flip(matrix, first)
    transform(matrix, scratch)
    flip(matrix, second)
    transform(matrix, scratch)


def rotate_back(
    matrix: NDArray[np.float32],
    scratch: NDArray[np.float32],
    first: NDArray[np.uint8],
    second: NDArray[np.uint8],
) -> None:
    """Multiply by d Rᵀ = D₁ H D₂ H, in place; with `rotate` before it the result is d² times the matrix."""
    transform(matrix, scratch)
    flip(matrix, second)
    transform(matrix, scratch)
    flip(matrix, first)
