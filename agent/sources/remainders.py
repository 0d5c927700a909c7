"""What float32 takes away of the numbers of columns: kept for those that may be too fine for it.

Rows are kept in float32. A column of 1.7e9 ± 100 s has 128 s between neighbours there, so what its values
are more than their float32 is kept beside them, in float64: both together are the value as it was read.
Whether a column is needed like that is for the task to say, which is not known while a source reads. So it is
kept for every column until its rows have shown that float32 does.

They have where `CHUNK` rows in a row spread far: in all but one of four parts the middle half of the values
is wider than 2⁻¹² of them, which is eight times what `fedge.data.moments.is_fine` asks for. Rows that follow
each other spread less than all of them, so a column that changes slowly is kept rather than not; and one jump
of a clock says nothing of the rest. Which chunks there are depends on the rows alone, not on how they came.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources.buffers import Buffer
from fedge.data.moments import FINE

PARTS, PART = 4, 16
CHUNK = PARTS * PART
"""Rows that are looked at together."""
MARGIN = 8.0
"""So many times as far as float32 needs it a chunk spreads that shows enough."""
BLOCK_ROWS = 4_096
"""Rows that `remainders` takes at once."""

Values = NDArray[np.float64]


class Remainders:
    """Of the columns of one table, row by row.

    Args:
        width: how many columns there are.
        all_of_them: whether they are kept whatever the rows show.
    """

    def __init__(self, width: int, *, all_of_them: bool = False) -> None:
        self._all = all_of_them
        self._kept = list(range(width))
        """The columns that float32 may not do for."""
        self._held: dict[int, Buffer] = {}
        """Of those of them that float32 has taken anything away of."""
        self._rows = 0
        self._open: Values = np.empty((0, width))
        """Rows of the columns in `_kept` that are no whole chunk yet."""

    def take(self, values: Values, narrow: NDArray[np.float32]) -> None:
        """More rows: as they were read, and rounded to float32; both of shape (n, width)."""
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
        """Forget all but these rows."""
        for buffer in self._held.values():
            buffer.keep(rows)
        self._rows = len(rows)

    def column(self, j: int) -> Values | None:
        """Shape (n,); None: float32 does, or has taken nothing away."""
        return self._held[j].array if j in self._held else None

    def columns(self) -> dict[int, Values]:
        """All that are kept, by column."""
        return {j: buffer.array for j, buffer in self._held.items()}

    def _judge(self, values: Values) -> None:
        """Give up the columns for which float32 does."""
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
    """Of an array of shape (n, d) that is there as a whole, and the same in float32, by column."""
    if rows.dtype.kind == "f" and rows.dtype.itemsize <= 4:
        return {}
    found = Remainders(rows.shape[1], all_of_them=all_of_them)
    for start in range(0, len(rows), BLOCK_ROWS):
        block = slice(start, start + BLOCK_ROWS)
        found.take(rows[block].astype(np.float64), narrow[block])
    return found.columns()


def _spreads(chunks: Values) -> NDArray[np.bool_]:
    """Which columns spread far in one of the chunks: (m · CHUNK, k) -> (k,). NaN is missing."""
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
