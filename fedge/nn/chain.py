"""The trained layers and the loss of a network for a fixed number of rows, with their buffers."""

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.nn.layer import Piece
from fedge.nn.losses import LOSSES, Loss
from fedge.nn.spec import NetworkSpec

Array = NDArray[Any]


class Chain:
    """Forward and backward through all trained layers, without allocating: for batches of exactly n rows.

    Views of the last vector are kept, and made again only for another array. So an optimizer that works in
    place pays for them once.
    """

    def __init__(self, spec: NetworkSpec, rows: int, dtype: np.dtype[Any]) -> None:
        placed = spec.placed
        self._shape, self._dtype = (placed[-1].place.stop,), dtype
        self._layers = [each.layer.build(each.inputs, rows, each.place, dtype) for each in placed]
        self._loss: Loss = LOSSES[spec.loss](rows, prod(placed[-1].outputs), dtype)
        lowest = next(i for i, each in enumerate(placed) if each.parameters)
        self._lowest = self._layers[lowest]
        self._above_lowest = self._layers[:lowest:-1]
        self._vector: Array | None = None

    @property
    def outputs(self) -> Array:
        """z of the last forward pass, of shape (n, outputs): a buffer that the next one overwrites."""
        return self._layers[-1].y

    def forward(self, w: Array, X: Array) -> Array:
        """Return `outputs` for prepared samples X of shape (n, d).

        Raises:
            ValueError: w is not a contiguous vector of shape (p,) in the network's dtype.
        """
        if w is not self._vector:
            if w.shape != self._shape or w.dtype != self._dtype or not w.flags.c_contiguous:
                expected = f"a contiguous {self._dtype} vector of shape {self._shape}"
                raise ValueError(f"weights: expected {expected}, got {w.dtype} of shape {w.shape}")
            self._vector = None  # if a layer fails, all are bound again
            for layer in self._layers:
                layer.bind(w)
            self._vector = w
        for layer in self._layers:
            X = layer.forward(X)
        return X

    def total(self, w: Array, X: Array, y: Array) -> float:
        """Return the loss summed over rows."""
        return self._loss.total(self.forward(w, X), y)

    def each(self, w: Array, X: Array, y: Array) -> NDArray[np.float64]:
        """Return the loss of each row, of shape (n,)."""
        return self._loss.each(self.forward(w, X), y)

    def last_total(self, y: Array) -> float:
        """Return the loss of the last forward pass, summed over rows."""
        return self._loss.total(self.outputs, y)

    def gradients(self, w: Array, X: Array, y: Array, scale: float) -> Iterator[Piece]:
        """Yield scale · ∂total/∂w piece by piece, from the last layer to the first.

        The weights of a piece are not read again once it is yielded, so they may be changed at once.
        """
        dy = self._loss.gradient(self.forward(w, X), y, scale)
        for layer in self._above_lowest:
            dx = layer.backward(dy)
            yield from layer.gradients(dy)
            dy = dx
        yield from self._lowest.gradients(dy)  # nothing below it learns: ∂L/∂x is not needed
