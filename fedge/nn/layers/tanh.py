"""The hyperbolic tangent."""

from typing import Any, Literal

import numpy as np

from fedge.nn.activation import Activation
from fedge.nn.layer import Array, LayerSpec, Operators, Shape, chain, entry, step


class Tanh(LayerSpec):
    """tanh x."""

    type: Literal["tanh"] = "tanh"

    def build(self, inputs: Shape, rows: int, place: slice, dtype: np.dtype[Any]) -> "_Tanh":
        """Make the object that computes it."""
        return _Tanh(inputs, rows, place, dtype)

    def operators(self, inputs: Shape) -> Operators:
        """One operator."""
        return chain(step("Tanh"))


class _Tanh(Activation):
    """y = tanh x; dy/dx = 1 - y²."""

    def forward(self, x: Array) -> Array:
        """Fill and return y."""
        return np.tanh(x, self.y)

    def backward(self, dy: Array) -> Array:
        """Fill and return ∂L/∂x."""
        np.multiply(self.y, self.y, self._dx)
        np.subtract(self._one, self._dx, self._dx)
        return np.multiply(self._dx, dy, self._dx)


ENTRY = entry(Tanh)
