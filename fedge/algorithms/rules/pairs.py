"""The distances between all pairs of rows, and an order of the rows that does not depend on names.

The squared distances follow from scalar products: ‖x_i - x_j‖² = ‖a_i‖² + ‖a_j‖² - 2 a_i · a_j with a_i = x_i
- base, each product exact to about 2⁻⁴⁰ of the largest (`fedge.algorithms.rules.exact`). So a distance that
is less than a millionth of the changes' lengths counts as one of about that size, and that of equal rows is
0.

It takes O(n² p) operations, and up to 40 n² bytes beside a block.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.rules.exact import add_gram
from fedge.algorithms.rules.rows import WIDTH, Rows, width_of

GATHERED = 2
"""The blocks whose products are added at a time, so that (n, n) is written less often."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """What rules of distances look at."""

    squares: NDArray[np.float64]
    """‖x_i - x_j‖² of each pair, (n, n), symmetric, with zeros on the diagonal."""
    order: tuple[int, ...]
    """The rows by the SHA-256 of their entries and n_k: ties and the order of sums follow it, so that no name
    of a device is worth more than another. It does not matter in which order equal rows come."""

    def nearest(self, number: int) -> list[list[int]]:
        """For each row this many that are nearest to it, itself included, in the `order`."""
        order = np.array(self.order)
        squares = self.squares[:, order]
        squares[order, np.arange(len(order))] = -1.0  # each is the nearest to itself
        near = np.argsort(squares, axis=1, kind="stable")[:, :number]  # ties keep the order
        return [order[row].tolist() for row in np.sort(near, axis=1)]


def pairs(rows: Rows, base: NDArray[np.float32]) -> Pairs:
    """Measure all pairs, in one iteration over the rows; `base`, (p,), is what they are changes of."""
    digests = [hashlib.sha256() for _ in range(rows.number)]
    squares = _squares(rows, base.astype(np.float64), digests)
    for weight, digest in zip(rows.weights, digests, strict=True):
        digest.update(np.float64(weight).astype("<f8").tobytes())
    order = sorted(range(rows.number), key=lambda row: digests[row].digest())
    return Pairs(squares, tuple(order))


def _squares(rows: Rows, base: NDArray[np.float64], digests: Sequence[Any]) -> NDArray[np.float64]:
    """The squared distances, (n, n); on the way, each row's entries are added to its digest."""
    products, spare = np.zeros((rows.number, rows.number)), np.empty((rows.number, rows.number))
    gathered = np.empty((rows.number, min(GATHERED * width_of(rows.number), WIDTH, rows.size)))
    filled = 0
    for place, block in rows.blocks():
        entries = (block + 0.0).astype("<f8", copy=False)  # -0.0 as 0.0
        for row, digest in zip(entries, digests, strict=True):
            digest.update(row)
        width = block.shape[1]
        if filled + width > gathered.shape[1]:
            add_gram(gathered[:, :filled], products, spare)
            filled = 0
        np.subtract(block, base[place], out=gathered[:, filled : filled + width])
        filled += width
    add_gram(gathered[:, :filled], products, spare)
    lengths = np.diag(products).copy()
    products *= -2.0
    products += np.add(lengths[:, None], lengths, out=spare)  # this sum is symmetric, to the bit
    np.maximum(products, 0.0, out=products)
    np.fill_diagonal(products, 0.0)
    return products
