"""The rounding of columns to float32 ("rest"), which is kept for columns that may be too fine for float32.

Rows are kept in float32. In a column of 1.7e9 ± 100 s neighbouring float32 numbers are 128 s apart. So the
difference between the value and its float32 is kept beside it, in float64; their sum is the value as it was
read. The task decides whether a column needs that, but the task is not known while a source reads. So the
rest is kept for every column until its rows have shown that float32 is enough.

Rows show it if `CHUNK` consecutive rows spread far. The chunk is divided into four parts. In three of them
the middle half of the values must be wider than 2⁻¹² of their magnitude, which is eight times what
`fedge.data.moments.is_fine` requires. Consecutive rows spread less than all rows, so the rest is kept for a
column that changes slowly. One jump of a clock affects only one part, and so shows nothing. The chunks depend
on the rows alone, not on the blocks in which they arrived.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources.buffers import Buffer
from fedge.data.moments import FINE

PARTS, PART = 4, 16
CHUNK = PARTS * PART
"""The number of rows that are examined together."""
MARGIN = 8.0
"""A chunk shows that float32 is enough if it spreads this many times as far as float32 needs."""
BLOCK_ROWS = 4_096
"""The number of rows that `remainders` processes at once."""

Values = NDArray[np.float64]


class Remainders:
    """The rest of the columns of one table, row by row.

    Args:
        width: the number of columns.
        all_of_them: whether the rest is kept for all columns, whatever the rows show.
    """

    def __init__(self, width: int, *, all_of_them: bool = False) -> None:
        self._all = all_of_them
        self._kept = list(range(width))
        """The columns for which float32 may not be enough."""
        self._held: dict[int, Buffer] = {}
        """The rest of those columns in which float32 has rounded a value."""
        self._rows = 0
        self._open: Values = np.empty((0, width))
        """Rows of the columns in `_kept` that do not fill a chunk yet."""

    def take(self, values: Values, narrow: NDArray[np.float32]) -> None:
        """Append rows, as they were read and rounded to float32. Both arrays have shape (n, width)."""
        if self._kept and not self._all:
            self._judge(values)
        for j in self._kept:
            column = narrow[:, j].astype(np.float64)
            known = np.isfinite(column)
            rest = np.where(known, values[:, j] - np.where(known, column, 0.0), 0.0)
            if j not in self._held and rest.any():
                self._held[j] = Buffer(np.float64)
                self._held[j].take(np.zeros(self._rows))
            if j in self._held:
                self._held[j].take(rest)
        self._rows += len(values)

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Drop all rows but these."""
        for buffer in self._held.values():
            buffer.keep(rows)
        self._rows = len(rows)

    def column(self, j: int) -> Values | None:
        """Return the rest of a column, shape (n,); None: float32 is enough, or has rounded nothing."""
        return self._held[j].array if j in self._held else None

    def columns(self) -> dict[int, Values]:
        """Return the rest of all columns for which it is kept, by column."""
        return {j: buffer.array for j, buffer in self._held.items()}

    def _judge(self, values: Values) -> None:
        """Drop the columns for which float32 is enough."""
        waiting = np.concatenate((self._open, values[:, self._kept]))
        whole = len(waiting) - len(waiting) % CHUNK
        enough = _spreads(waiting[:whole])
        self._open = waiting[whole:, ~enough]
        for j, gone in zip(self._kept, enough.tolist(), strict=True):
            if gone:
                self._held.pop(j, None)
        self._kept = [j for j, gone in zip(self._kept, enough.tolist(), strict=True) if not gone]


def remainders(
    rows: NDArray[Any], narrow: NDArray[np.float32], *, all_of_them: bool = False
) -> dict[int, Values]:
    """Return the rest of an array of shape (n, d) by column; `narrow` is the same array in float32."""
    if rows.dtype.kind == "f" and rows.dtype.itemsize <= 4:
        return {}
    found = Remainders(rows.shape[1], all_of_them=all_of_them)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        found.take(rows[block].astype(np.float64), narrow[block])
    return found.columns()


def _spreads(chunks: Values) -> NDArray[np.bool_]:
    """Return which columns spread far in one of m chunks: (m · CHUNK, k) -> (k,). NaN is a missing value."""
    width = chunks.shape[1]
    ordered = np.sort(chunks.reshape(-1, PARTS, PART, width), axis=2)
    count = np.count_nonzero(~np.isnan(ordered), axis=2, keepdims=True)
    low, high = (
        np.take_along_axis(ordered, np.minimum(at, PART - 1), axis=2)[:, :, 0]
        for at in (count // 4, 3 * count // 4)
    )
    with np.errstate(invalid="ignore"):
        far = (high - low) * (FINE / MARGIN) > np.maximum(np.abs(low), np.abs(high))
    return np.asarray((far.sum(axis=1) >= PARTS - 1).any(axis=0))
