"""Buffers that collect rows block by block, and drop older rows if only the newest are wanted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

GROWTH = 1.25
"""A buffer that grows is allocated this many times the size that it needs."""
INTERNED = 4_096
"""Up to this many different texts of a column are stored only once each. Labels are few."""


class Buffer:
    """An array that grows at its end. Views of it that were returned never change.

    Args:
        dtype: the type of its values.
        width: the number of columns; None: the array has shape (n,).
    """

    def __init__(self, dtype: DTypeLike, width: int | None = None) -> None:
        self._held: NDArray[Any] = np.empty(0 if width is None else (0, width), dtype=dtype)
        self._rows = 0

    def take(self, rows: NDArray[Any] | Sequence[Any]) -> None:
        """Append rows."""
        end = self._rows + len(rows)
        if end > len(self._held):
            larger = np.empty((int(end * GROWTH) + 1, *self._held.shape[1:]), dtype=self._held.dtype)
            larger[: self._rows] = self.array
            self._held = larger
        self._held[self._rows : end] = rows
        self._rows = end

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Drop all rows but these."""
        self._held = self._held[rows]
        self._rows = len(rows)

    @property
    def array(self) -> NDArray[Any]:
        """All rows, as a view."""
        return self._held[: self._rows]


class Texts:
    """A column of texts."""

    def __init__(self) -> None:
        self._held: list[str] = []
        self._known: dict[str, str] = {}

    def take(self, texts: Sequence[str]) -> None:
        """Append the texts of more rows."""
        known = self._known
        if len(known) < INTERNED:
            known.update((text, text) for text in dict.fromkeys(texts) if text not in known)
        self._held += [known.get(text, text) for text in texts]

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Drop all rows but these."""
        self._held = [self._held[row] for row in rows.tolist()]

    def __iter__(self) -> Any:
        return iter(self._held)
