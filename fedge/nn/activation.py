"""The parent of layers that apply a function to each number and have no weights."""

from collections.abc import Iterable
from math import prod
from typing import Any

import numpy as np

from fedge.nn.layer import Array, Piece
from fedge.nn.schema import Shape


class Activation:
    """A function of each number, whose derivative depends on y alone."""

    def __init__(self, inputs: Shape, rows: int, place: slice, dtype: np.dtype[Any]) -> None:
        shape = (rows, prod(inputs))
        self.y: Array = np.empty(shape, dtype)
        self._dx: Array = np.empty(shape, dtype)
        self._zero: Array = np.zeros((), dtype)
        self._one: Array = np.ones((), dtype)

    def bind(self, vector: Array) -> None:
        """Do nothing: there are no weights."""

    def gradients(self, dy: Array) -> Iterable[Piece]:
        """Return nothing: there are no weights."""
        return ()
