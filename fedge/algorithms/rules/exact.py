"""Matrix products whose bits do not depend on the order in which BLAS adds, nor on the machine.

A matrix is divided into slices whose entries are whole numbers times a power of two, so small that each sum
of products is a whole number below 2^53. So every sum is exact in float64, in any order, and BLAS computes it
at its own speed. What is added afterwards is added in a fixed order.

Ozaki, Ogita, Oishi and Rump 2012, "Error-free transformations of matrix multiplication by using fast routines
of matrix multiplication and its applications", Numerical Algorithms 59,
https://doi.org/10.1007/s11075-011-9478-1, section 3; here with slices of whole numbers.
"""

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

EXACT = 53
"""Whole numbers up to 2 to this power are exact in float64."""
BITS = 21
"""The bits of one slice of a Gram matrix: 2 · 21 + 10 < 53, for up to 1,024 columns."""


def add_gram(block: Matrix, total: Matrix, spare: Matrix) -> None:
    """Add the scalar products of all pairs of rows of a block (n, b), b ≤ 1,024, to `total`, (n, n).

    Each row is rounded to 42 bits relative to its largest entry in the block, so a product is off by at most
    b · 2⁻⁴² of the product of the largest entries. Equal rows get equal products, to the bit. `block` and
    `spare`, (n, n), are overwritten.
    """
    exponents = np.frexp(np.abs(block).max(axis=1))[1]
    np.ldexp(block, (BITS - exponents)[:, None], out=block)
    high = np.rint(block)
    block -= high
    np.ldexp(block, BITS, out=block)
    low = np.rint(block, out=block)
    units = np.ldexp(1.0, exponents - BITS)
    np.matmul(high, low.T, out=spare)
    crossed = spare + spare.T
    crossed *= 2.0**-BITS
    np.matmul(high, high.T, out=spare)
    spare += crossed
    spare *= units[:, None]
    spare *= units
    total += spare


def sums(members: Matrix, block: Matrix) -> Matrix:
    """The sums of some rows of a block, of shape (m, b), rounded once for each slice.

    Args:
        members: (m, n), 1 where a row of the block belongs to a sum, else 0.
        block: (n, b), finite.
    """
    bits = EXACT - block.shape[0].bit_length()
    exponents = np.frexp(np.abs(block).max(axis=0))[1]
    made, rest = np.zeros((len(members), block.shape[1])), block
    while True:
        whole = np.rint(np.ldexp(rest, bits - exponents))
        part = np.ldexp(whole, exponents - bits)
        made += np.ldexp(members @ whole, exponents - bits)
        rest = rest - part
        if not rest.any():
            return made
        exponents = exponents - bits
