"""The logistic function."""

from typing import Any, Literal

import numpy as np

from fedge.nn.activation import Activation
from fedge.nn.layer import Array, LayerSpec, Operators, Shape, chain, entry, step


class Sigmoid(LayerSpec):
    """1 / (1 + exp(-x))."""

    type: Literal["sigmoid"] = "sigmoid"

    def build(self, inputs: Shape, rows: int, place: slice, dtype: np.dtype[Any]) -> "_Sigmoid":
        """Make the object that computes it."""
        return _Sigmoid(inputs, rows, place, dtype)

    def operators(self, inputs: Shape) -> Operators:
        """One operator."""
        return chain(step("Sigmoid"))


class _Sigmoid(Activation):
    """y = 1 / (1 + exp(-x)), computed as (1 + tanh(x/2)) / 2, which cannot overflow; dy/dx = y (1 - y)."""

    def forward(self, x: Array) -> Array:
        """Fill and return y."""
        np.multiply(x, 0.5, self.y)
        np.tanh(self.y, self.y)
        np.add(self.y, self._one, self.y)
        return np.multiply(self.y, 0.5, self.y)

    def backward(self, dy: Array) -> Array:
        """Fill and return ∂L/∂x."""
        np.subtract(self._one, self.y, self._dx)
        np.multiply(self._dx, self.y, self._dx)
        return np.multiply(self._dx, dy, self._dx)


ENTRY = entry(Sigmoid)
