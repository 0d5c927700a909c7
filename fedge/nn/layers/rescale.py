"""A regression's answer in the targets' own units: the survey's constants, last in the network."""

from typing import Any, ClassVar, Literal

import numpy as np

from fedge.nn.affine import Affine
from fedge.nn.layer import Array, entry
from fedge.nn.operators import Operators, chain, step
from fedge.nn.schema import Shape


class Rescale(Affine):
    """x * scale + mean, frozen: a regression's answer in the targets' own units, last in the network."""

    type: Literal["rescale"] = "rescale"

    stands: ClassVar[Literal["first", "between", "last"]] = "last"

    def transform(self, dtype: np.dtype[Any]) -> "_Rescale":
        """Make the object that computes it."""
        return _Rescale(self, dtype)

    def operators(self, inputs: Shape, fills: bool = False) -> Operators:
        """Multiply and add; outputs have no missing values."""
        return chain(step("Mul", "scale"), step("Add", "mean"), **self.tensors)


class _Rescale:
    """y = x · scale + mean, frozen; it comes after the loss."""

    def __init__(self, frozen: Rescale, dtype: np.dtype[Any]) -> None:
        self.dtype = dtype
        self._mean: Array = frozen.means.astype(dtype)
        self._scale: Array = frozen.scales.astype(dtype)

    def forward(self, x: Array) -> Array:
        """Return a new array of shape (n, t), in the targets' own units."""
        y = np.multiply(x, self._scale)
        return np.add(y, self._mean, out=y)

    def invert(self, y: Array) -> Array:
        """Return a new array of shape (n, t), in standard units: (y - mean) / scale."""
        x = np.subtract(y, self._mean, dtype=self.dtype)
        return np.divide(x, self._scale, out=x)


ENTRY = entry(Rescale)
