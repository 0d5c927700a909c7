"""The updates of a round as rows of a matrix (n, p), a block of coordinates at a time.

A robust rule compares the values of all updates in one coordinate, so it needs them side by side, and the
matrix may be larger than the memory. `Read` reads as many coordinates in one pass over the updates as its
buffer holds. A small round fits into the buffer as a whole: then one pass is enough, however often a rule
goes through the rows.

No sum here depends on the order of BLAS or `np.sum`, which may differ between machines: rows are added in
float64 one after another, or, as squares are, by the tree of `fedge.algorithms.rules.bounds.sum_by_halves`.
Products of matrices are exact (`fedge.algorithms.rules.exact`).
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import median_low
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.protocols import Updates
from fedge.algorithms.rules.bounds import sum_by_halves
from fedge.algorithms.rules.exact import sums

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

MEMORY = 32 << 20
"""The bytes that a robust rule may take: three quarters for the buffer, one for what it makes of a block."""
BUFFER = MEMORY * 3 // 4
"""The bytes of the buffer."""
PART = 1 << 20
"""The most bytes of one block."""
WIDTH = 1024
"""The most coordinates of one block; a power of two."""


def width_of(number: int) -> int:
    """The coordinates of each block but the last, of this many updates: a power of two.

    >>> width_of(20), width_of(1000)
    (1024, 128)
    """
    most = max(1, PART // (8 * number))
    return min(WIDTH, 1 << (most.bit_length() - 1))


MANY = 8
"""Where a row belongs to more new rows than this, their sums are one product of matrices."""


class Rows(Protocol):
    """The rows that a rule combines: the updates, or what a step before the rule made of them."""

    number: int
    """n, at least 1."""
    size: int
    """p."""

    @property
    def weights(self) -> Sequence[float]:
        """n_k of each row."""
        ...

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield each block's place and its read-only matrix (n, b), from the first coordinate to the last.

        All blocks but the last have `width_of(n)` coordinates. A matrix is valid until the next one; so only
        one iteration may be under way.
        """
        ...


class Read:
    """The rows as they are read from the updates, in the fixed order."""

    def __init__(self, updates: Updates) -> None:
        self.number, self.size = len(updates), updates.size
        self._updates, self._width = updates, width_of(self.number)
        columns = max(1, BUFFER // (8 * self.number * self._width)) * self._width
        self._columns = min(columns, self.size)
        self._buffer = np.empty((self.number, self._columns))
        self._shown = self._buffer.view()
        self._shown.flags.writeable = False
        self._weights: list[float] = []
        self._devices: list[str] = []
        self._start: int | None = None
        self._read(0)

    @property
    def devices(self) -> Sequence[str]:
        """The device of each row."""
        return self._devices

    @property
    def weights(self) -> Sequence[float]:
        """n_k of each row, as a rule sees it."""
        return self._weights

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """As `Rows.blocks`; it takes one pass over the updates for each filling of the buffer."""
        for start in range(0, self.size, self._columns):
            if self._start != start:
                self._read(start)
            end = min(start + self._columns, self.size)
            for first in range(start, end, self._width):
                stop = min(first + self._width, end)
                yield slice(first, stop), self._shown[:, first - start : stop - start]

    def _read(self, start: int) -> None:
        self._start = None
        stop = min(start + self._columns, self.size)
        devices, weights = [], []
        for row, each in enumerate(self._updates.lanes()):
            self._buffer[row, : stop - start] = each.vector[start:stop]
            devices.append(each.device)
            weights.append(float(each.samples))
            del each
        self._devices, self._weights, self._start = devices, weights, start


class Mixed:
    """Rows each of which is the plain mean of some other rows, in the order that is given.

    They are made in each iteration. Where they fit beside the buffer of `Read`, the first iteration to the
    end keeps them.

    Args:
        rows: the other rows.
        members: for each new row, the numbers of the rows that it is the mean of.
    """

    def __init__(self, rows: Rows, members: Sequence[Sequence[int]]) -> None:
        self.number, self.size = len(members), rows.size
        self._rows, self._members = rows, members
        self._distinct = list(dict.fromkeys(map(tuple, members)))
        """Many updates have the same neighbours; the mean of equal rows is made once."""
        place = {some: number for number, some in enumerate(self._distinct)}
        self._which = np.array([place[tuple(some)] for some in members])
        fits = 8 * self.size * (rows.number + self.number) <= BUFFER
        self._kept: list[tuple[slice, Matrix]] | None = [] if fits else None
        self._whole = False

    @property
    def weights(self) -> Sequence[float]:
        """The mean n_k of the members of each row."""
        given = self._rows.weights
        return [sum(given[k] for k in some) / len(some) for some in self._members]

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """As `Rows.blocks`, in blocks of the other rows' width."""
        if self._whole and self._kept is not None:
            yield from self._kept
            return
        kept: list[tuple[slice, Matrix]] = []
        for each in self._made():
            if self._kept is not None:
                kept.append(each)
            yield each
        if self._kept is not None:
            self._kept, self._whole = kept, True

    def _made(self) -> Iterator[tuple[slice, Matrix]]:
        many = sum(map(len, self._members)) > MANY * self._rows.number
        members = self._matrix() if many else None
        for place, block in self._rows.blocks():
            if members is None:
                made = np.stack([mean_of_rows(block, some) for some in self._distinct])
            else:
                made = sums(members, block)
                made /= members.sum(axis=1)[:, None]
            made = made[self._which]
            made.flags.writeable = False
            yield place, made

    def _matrix(self) -> Matrix:
        """1 where a row belongs to a new one, else 0, of shape (m, n)."""
        made = np.zeros((len(self._distinct), self._rows.number))
        for row, some in enumerate(self._distinct):
            made[row, list(some)] = 1.0
        return made


def sorted_columns(block: Matrix) -> Matrix:
    """The block (n, b) with each column sorted upwards.

    Where a column's entries lie beside each other, twenty are sorted in half the time.
    """
    columns = block.T.copy()
    columns.sort(axis=1)
    return columns.T


def mean_of_rows(block: Matrix, rows: Sequence[int]) -> Vector:
    """The plain mean of some rows of a block, added by a binary tree in this order, of shape (b,)."""
    some: list[Vector] = [block[row] for row in rows]
    size = power_of_two(len(rows))
    while size > 1:  # as `sum_by_halves`, without a copy of the rows
        size //= 2
        some = [a + some[k + size] if k + size < len(some) else a for k, a in enumerate(some[:size])]
    return np.asarray(some[0] / len(rows))


def mean_of_slices(parts: Iterable[Vector]) -> Vector:
    """The plain mean of vectors of one shape, added in this order; they are not changed."""
    total: Any = None
    number = 0
    for part in parts:
        total = part.copy() if total is None else np.add(total, part, out=total)
        number += 1
    total /= number
    return np.asarray(total)


def distances(rows: Rows, point: Vector) -> list[float]:
    """‖x_k - point‖ of each row; `point` has shape (p,)."""
    total = np.zeros(rows.number)
    for place, block in rows.blocks():
        squares = block - point[place]
        np.multiply(squares, squares, out=squares)
        total += sum_by_halves(squares, power_of_two(squares.shape[1]))
    return [math.sqrt(each) for each in total]


def factors(far: Sequence[float], longest: float | None) -> list[float]:
    """What a difference of each of these lengths is multiplied with, so that it is not longer than `longest`.

    None: as the lower median of the lengths. It lies between honest lengths where fewer than half are lies.

    >>> factors([1.0, 4.0, 2.0], None), factors([1.0, 4.0, 2.0], 1.0)
    ([1.0, 0.5, 1.0], [1.0, 0.25, 0.5])
    """
    most = median_low(far) if longest is None else longest
    return [1.0 if each <= most else most / each for each in far]


def weighted_mean(rows: Rows, weights: Sequence[float]) -> Vector:
    """Σ w_k x_k / Σ w_k, of shape (p,); the weights are not negative, and one of them is not 0."""
    made, whole = np.empty(rows.size), 0.0
    for weight in weights:
        whole += weight
    shares = [weight / whole for weight in weights]
    for place, block in rows.blocks():
        total = np.zeros(block.shape[1])
        for row, share in enumerate(shares):
            total += share * block[row]
        made[place] = total
    return made


def clipped_mean(rows: Rows, point: Vector, factors: Sequence[float]) -> Vector:
    """`point` + the mean of factor_k · (x_k - `point`) over all rows, of shape (p,)."""
    made = np.empty(rows.size)
    for place, block in rows.blocks():
        middle = point[place]
        total = np.zeros(block.shape[1])
        for row, factor in enumerate(factors):
            total += factor * (block[row] - middle)
        made[place] = middle + total / rows.number
    return made


def power_of_two(number: int) -> int:
    """The smallest power of two that is not less than a number.

    >>> power_of_two(1), power_of_two(5), power_of_two(1024)
    (1, 8, 1024)
    """
    return 1 << (number - 1).bit_length()
