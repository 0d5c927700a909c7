"""The rectified linear unit.

Nair, Hinton 2010, "Rectified Linear Units Improve Restricted Boltzmann Machines", ICML.
"""

from typing import Any, ClassVar, Literal

import numpy as np

from fedge.nn.activation import Activation
from fedge.nn.layer import Array, LayerSpec, Operators, Shape, chain, entry, step


class ReLU(LayerSpec):
    """max(x, 0)."""

    type: Literal["relu"] = "relu"

    rectifies: ClassVar[bool] = True

    def build(self, inputs: Shape, rows: int, place: slice, dtype: np.dtype[Any]) -> "_ReLU":
        """Make the object that computes it."""
        return _ReLU(inputs, rows, place, dtype)

    def operators(self, inputs: Shape) -> Operators:
        """One operator."""
        return chain(step("Relu"))


class _ReLU(Activation):
    """y = max(x, 0); dy/dx = [y > 0]."""

    def forward(self, x: Array) -> Array:
        """Fill and return y."""
        return np.maximum(x, self._zero, out=self.y)

    def backward(self, dy: Array) -> Array:
        """Fill and return ∂L/∂x."""
        np.greater(self.y, self._zero, self._dx)
        return np.multiply(self._dx, dy, self._dx)


ENTRY = entry(ReLU)
