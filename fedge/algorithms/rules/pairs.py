"""The distances between all pairs of rows, and an order of the rows that does not depend on names.

It takes O(n² p) operations and 8 n² bytes.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.rules.bounds import sum_by_halves
from fedge.algorithms.rules.rows import PART, Rows, power_of_two, width_of


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
    number, size = rows.number, width_of(rows.number)
    squares = np.zeros((number, number))
    digests = [hashlib.sha256() for _ in range(number)]
    buffer = np.empty((max(number, PART // (8 * size)), size))
    for _, block in rows.blocks():
        for row, digest in zip(block, digests, strict=True):
            digest.update((row + 0.0).astype("<f8").tobytes())  # -0.0 as 0.0
        for some in _together(number, len(buffer)):
            apart = buffer[: sum(number - 1 - row for row in some), : block.shape[1]]
            top = 0
            for row in some:
                np.subtract(block[row + 1 :], block[row], out=apart[top : top + number - 1 - row])
                top += number - 1 - row
            np.multiply(apart, apart, out=apart)
            found, top = sum_by_halves(apart, power_of_two(block.shape[1])), 0
            for row in some:
                squares[row, row + 1 :] += found[top : top + number - 1 - row]
                top += number - 1 - row
    squares += squares.T  # each is in one half, and the other half is 0
    for weight, digest in zip(rows.weights, digests, strict=True):
        digest.update(np.float64(weight).astype("<f8").tobytes())
    order = sorted(range(rows.number), key=lambda row: digests[row].digest())
    return Pairs(squares, tuple(order))


def _together(number: int, most: int) -> Iterator[range]:
    """The first rows of pairs, as many at a time as have at most this many pairs, or one."""
    start = 0
    while start < number - 1:
        stop, held = start + 1, number - 1 - start
        while stop < number - 1 and held + number - 1 - stop <= most:
            held += number - 1 - stop
            stop += 1
        yield range(start, stop)
        start = stop
