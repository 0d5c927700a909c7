"""The distances between all pairs of rows, and an order of the rows that does not depend on names.

It takes O(n² p) operations and 8 n² bytes.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.rules.bounds import sum_by_halves
from fedge.algorithms.rules.rows import Rows, power_of_two


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


def pairs(rows: Rows) -> Pairs:
    """Measure all pairs, in one iteration over the rows."""
    squares = np.zeros((rows.number, rows.number))
    digests = [hashlib.sha256() for _ in range(rows.number)]
    for _, block in rows.blocks():
        width = power_of_two(block.shape[1])
        for row, digest in enumerate(digests):
            digest.update((block[row] + 0.0).astype("<f8").tobytes())  # -0.0 as 0.0
            if row + 1 < rows.number:
                apart = block[row + 1 :] - block[row]
                np.multiply(apart, apart, out=apart)
                squares[row, row + 1 :] += sum_by_halves(apart, width)
    squares += squares.T  # each is in one half, and the other half is 0
    for weight, digest in zip(rows.weights, digests, strict=True):
        digest.update(np.float64(weight).astype("<f8").tobytes())
    order = sorted(range(rows.number), key=lambda row: digests[row].digest())
    return Pairs(squares, tuple(order))
