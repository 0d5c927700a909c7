"""A dense layer: every output is a weighted sum of all inputs."""

from collections.abc import Iterator, Mapping
from math import ceil, prod
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from fedge.nn.layer import Array, LayerSpec, Operators, Piece, Shape, Views, chain, entry, step

MAX_UNITS = 65_536
PIECE_ENTRIES = 24_576  # 96 KiB of float32: a piece is used while it is still in the core's cache


class Dense(LayerSpec):
    """x W + b, with W of shape (inputs, units) and b of shape (units,)."""

    type: Literal["dense"] = "dense"
    units: int = Field(ge=1, le=MAX_UNITS)

    ends: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = MappingProxyType({"units": 3})

    def output(self, inputs: Shape) -> Shape:
        """One output for each unit."""
        return (self.units,)

    def parameters(self, inputs: Shape) -> tuple[tuple[str, Shape], ...]:
        """W, then b."""
        return ("weight", (prod(inputs), self.units)), ("bias", (self.units,))

    def build(self, inputs: Shape, rows: int, place: slice, dtype: np.dtype[Any]) -> "_Dense":
        """Make the object that computes it."""
        return _Dense(prod(inputs), self.units, rows, place, dtype)

    def operators(self, inputs: Shape) -> Operators:
        """One matrix product and a sum."""
        return chain(step("Gemm", "weight", "bias"))

    def take_before(self, weights: Views, factor: Array, shift: Array) -> bool:
        """(x f + s) W + b = x (f W) + (s W + b), by rows of W."""
        weight, bias = weights["weight"], weights["bias"]
        # In this order on every machine, which BLAS does not guarantee.
        for each, row in zip(shift, weight, strict=True):
            bias += each * row
        weight *= factor[:, None]
        return True

    def take_behind(self, weights: Views, scale: Array, shift: Array, by: Array) -> bool:
        """((x W + b) c + s) / d = x (W c / d) + (b c + s) / d, by columns of W."""
        weight, bias = weights["weight"], weights["bias"]
        bias[:] = (bias * scale + shift) / by
        weight *= scale / by
        return True


class _Cut(NamedTuple):
    """Some rows of a dense layer's W, followed by b in the last cut, and the buffer for their gradient."""

    rows: slice | None
    """None: all of them."""
    weight: Array
    bias: Array | None
    place: slice
    values: Array


class _Dense:
    """y = x W + b, with x of shape (n, i), W (i, u) and b (u,), one after the other in the flat vector.

    With g = ∂L/∂y: ∂L/∂W = xᵀ g, ∂L/∂b = Σₙ gₙ, ∂L/∂x = g Wᵀ.
    """

    def __init__(self, inputs: int, units: int, rows: int, place: slice, dtype: np.dtype[Any]) -> None:
        self.y: Array = np.empty((rows, units), dtype)
        self._dx: Array = np.empty((rows, inputs), dtype)
        self._ones: Array = np.ones(rows, dtype)
        self._place, start = place, place.start
        height = ceil(inputs / max(1, round(inputs * units / PIECE_ENTRIES)))
        buffer: Array = np.empty((height + 1, units), dtype)
        self._cuts: list[_Cut] = []
        for top in range(0, inputs, height):
            bottom = min(top + height, inputs)
            last = bottom == inputs
            weight, bias = buffer[: bottom - top], buffer[bottom - top] if last else None
            part = slice(start + top * units, start + (bottom + last) * units)
            values = buffer[: bottom - top + last].reshape(-1)
            rows_of = None if height == inputs else slice(top, bottom)
            self._cuts.append(_Cut(rows_of, weight, bias, part, values))

    def bind(self, vector: Array) -> None:
        """Compute with the weights in this flat vector from now on."""
        block = vector[self._place].reshape(-1, self.y.shape[1])
        self._weight, self._bias, self._transposed = block[:-1], block[-1], block[:-1].T

    def forward(self, x: Array) -> Array:
        """Fill and return y."""
        self._x = x
        x.dot(self._weight, self.y)
        np.add(self.y, self._bias, self.y)
        return self.y

    def backward(self, dy: Array) -> Array:
        """Fill and return ∂L/∂x."""
        return dy.dot(self._transposed, self._dx)

    def gradients(self, dy: Array) -> Iterator[Piece]:
        """Yield the gradient some rows of [W; b] at a time."""
        x = self._x.T
        for rows, weight, bias, place, values in self._cuts:
            (x if rows is None else x[rows]).dot(dy, weight)
            if bias is not None:
                self._ones.dot(dy, bias)
            yield place, values


ENTRY = entry(Dense)
