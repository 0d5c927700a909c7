"""Bulyan: Krum chooses, and then each coordinate is trimmed around its median.

El Mhamdi, Guerraoui and Rouault 2018, "The Hidden Vulnerability of Distributed Learning in Byzantium", ICML,
https://arxiv.org/abs/1802.07927, section 4: Krum chooses one update, then one of the others, and so on, until
θ = n - 2 f are chosen. In each coordinate the result is the mean of the β = θ - 2 f chosen values that are
nearest to their median. The scores are those of `fedge.algorithms.rules.krum`.

**Needs** n ≥ 4 f + 3 updates. **Assumes** the same as Krum; it stands against liars who differ from the
honest in a single coordinate, which Krum may let through.

**Bound.** Let a and b be the smallest and the largest chosen honest value of a coordinate. Whatever f liars
send, that entry of the result lies in [a - (b - a), b + (b - a)]. Proof idea: at most f of the θ ≥ 2 f + 3
chosen are liars, so the median lies in [a, b], and the θ - f ≥ β chosen honest values are no farther from it
than b - a. So the β nearest ones are not, either.

**Ties** of scores as in Krum. Of two values that are equally far from the median the lower one counts.

**Cost** O(n² p + n³), and 48 n² bytes beside a buffer of 32 MiB at most.
"""

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry
from fedge.algorithms.rules.krum import neighbours
from fedge.algorithms.rules.median import median_of
from fedge.algorithms.rules.pairs import Pairs, pairs
from fedge.algorithms.rules.robust import Made, Robust, RobustOptions
from fedge.algorithms.rules.rows import Matrix, Rows, mean_of_slices, sorted_columns


class Bulyan(Robust):
    """The values nearest to the median of what Krum chose; a device counts by the share of these values."""

    name = "bulyan"

    @staticmethod
    def needed(f: int) -> int:
        """4 f + 3, the paper's bound."""
        return 4 * f + 3

    @staticmethod
    def withstood(number: int, f: int) -> int:
        """So many that a value is left: n - 4 f ≥ 1."""
        return min(f, (number - 1) // 4)

    def combine(self, rows: Rows, f: int, base: NDArray[np.float32], state: State) -> Made:
        """Choose n - 2 f rows; in each coordinate take the mean of the n - 4 f nearest to the median."""
        chosen = _chosen(pairs(rows, base), f)
        made, kept = np.empty(rows.size), np.zeros(len(chosen), np.int64)
        for place, block in rows.blocks():
            values = block[chosen]
            near = _nearest(sorted_columns(values), len(chosen) - 2 * f)
            made[place] = mean_of_slices(near)
            kept += np.count_nonzero((near[0] <= values) & (values <= near[-1]), axis=1)
        parts = [0.0] * rows.number
        for row, number in zip(chosen, kept, strict=True):
            parts[row] = int(number) / rows.size
        return Made(made, parts)


def _chosen(found: Pairs, f: int) -> list[int]:
    """The n - 2 f rows that Krum chooses one after another.

    Each row's distances are sorted once. Then in each turn those of the nearest rows that are left are added,
    from the nearest on, as `fedge.algorithms.rules.krum.ranked` does.
    """
    number = len(found.order)
    squares = found.squares[np.ix_(found.order, found.order)]
    near = np.argsort(squares, axis=1, kind="stable")
    squares = np.take_along_axis(squares, near, axis=1)
    left = np.ones(number, bool)
    chosen: list[int] = []
    while len(chosen) < number - 2 * f:
        counts = left[near]
        counts &= np.cumsum(counts, axis=1, dtype=np.int32) <= neighbours(number - len(chosen), f)
        scores = np.cumsum(np.where(counts, squares, 0.0), axis=1)[:, -1]
        best = int(np.argmin(np.where(left, scores, np.inf)))
        left[best] = False
        chosen.append(found.order[best])
    return chosen


def _nearest(ordered: Matrix, number: int) -> Matrix:
    """This many values of each column that are nearest to its median, (number, b), in their order of size.

    They stand beside each other in the sorted column, so only the place of the first one is searched for.
    Equal values are passed over: where liars send the same value, nearer ones may come after all of them.
    """
    middle, columns = median_of(ordered), np.arange(ordered.shape[1])
    first = np.zeros(ordered.shape[1], np.intp)
    for start in range(len(ordered) - number):
        low, high = ordered[start], ordered[start + number]
        goes_on = (np.abs(high - middle) < np.abs(low - middle)) | (high == low)
        first[(first == start) & goes_on] += 1
    return np.stack([ordered[first + place, columns] for place in range(number)])


ENTRY = Entry("rule", "bulyan", Bulyan, RobustOptions)
