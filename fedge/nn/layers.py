"""The layers of a network: what each computes, and its derivative.

A trained layer works on a fixed number of rows n and owns the buffers it writes into, so that a training
step allocates nothing. `forward(x)` fills and returns y. Then, given dy = ∂L/∂y, `backward(dy)` fills and
returns dx = ∂L/∂x, and `gradients(dy)` yields the gradient of the layer's own weights, piece by piece.

The chain rule for layers of neurons: Rumelhart, Hinton, Williams 1986, "Learning representations by
back-propagating errors", Nature 323, equations 4 to 7.
"""

from collections.abc import Iterable, Iterator
from math import ceil
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedge.nn import spec

Array = NDArray[Any]
Piece = tuple[slice, Array]
"""A part of a flat gradient: its place in the vector and its values, in a buffer that the next one reuses."""

BLOCK_ROWS = 4_096
"""Rows standardized at once, so that copies in float64 stay small."""
PIECE_ENTRIES = 24_576  # 96 KiB of float32: a piece is used while it is still in the core's own cache


class Layer(Protocol):
    """One trained layer for a fixed number of rows."""

    y: Array
    """The output of the last `forward`, of shape (n, units)."""

    def bind(self, vector: Array) -> None:
        """Compute with the weights in this flat vector, of shape (p,), from now on."""
        ...

    def forward(self, x: Array) -> Array:
        """Compute y from x, of shape (n, inputs), which must not change until the gradients are taken."""
        ...

    def backward(self, dy: Array) -> Array:
        """Compute ∂L/∂x, of shape (n, inputs), from ∂L/∂y, of shape (n, units)."""
        ...

    def gradients(self, dy: Array) -> Iterable[Piece]:
        """Compute the gradient of the layer's weights, which are not read again once their piece is out."""
        ...


class _Cut(NamedTuple):
    """Some rows of a dense layer's W, with b after the last of them, and the buffer for their gradient."""

    rows: slice
    weight: Array
    bias: Array | None
    place: slice
    values: Array


class Dense:
    """y = x W + b, with x of shape (n, i), W (i, u) and b (u,), one after the other in the flat vector.

    With g = ∂L/∂y: ∂L/∂W = xᵀ g, ∂L/∂b = Σₙ gₙ, ∂L/∂x = g Wᵀ.
    """

    def __init__(self, rows: int, inputs: int, units: int, start: int, dtype: DTypeLike) -> None:
        self.y: Array = np.empty((rows, units), dtype)
        self._dx: Array = np.empty((rows, inputs), dtype)
        self._ones: Array = np.ones(rows, dtype)
        self._block = slice(start, start + (inputs + 1) * units)
        height = ceil(inputs / max(1, round(inputs * units / PIECE_ENTRIES)))
        buffer: Array = np.empty((height + 1, units), dtype)
        self._cuts: list[_Cut] = []
        for top in range(0, inputs, height):
            bottom = min(top + height, inputs)
            last = bottom == inputs
            weight, bias = buffer[: bottom - top], buffer[bottom - top] if last else None
            place = slice(start + top * units, start + (bottom + last) * units)
            values = buffer[: bottom - top + last].reshape(-1)
            self._cuts.append(_Cut(slice(top, bottom), weight, bias, place, values))

    def bind(self, vector: Array) -> None:
        """Compute with the weights in this flat vector from now on."""
        block = vector[self._block].reshape(-1, self.y.shape[1])
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
            x[rows].dot(dy, weight)
            if bias is not None:
                self._ones.dot(dy, bias)
            yield place, values


class _Activation:
    """A function of each entry, without weights; its derivative is a function of y alone."""

    def __init__(self, rows: int, units: int, dtype: DTypeLike) -> None:
        self.y: Array = np.empty((rows, units), dtype)
        self._dx: Array = np.empty((rows, units), dtype)
        self._zero: Array = np.zeros((), dtype)
        self._one: Array = np.ones((), dtype)

    def bind(self, vector: Array) -> None:
        """Do nothing: there are no weights."""

    def gradients(self, dy: Array) -> Iterable[Piece]:
        """Return nothing: there are no weights."""
        return ()


class ReLU(_Activation):
    """y = max(x, 0); dy/dx = [y > 0]."""

    def forward(self, x: Array) -> Array:
        """Fill and return y."""
        return np.maximum(x, self._zero, out=self.y)

    def backward(self, dy: Array) -> Array:
        """Fill and return ∂L/∂x."""
        np.greater(self.y, self._zero, self._dx)
        return np.multiply(self._dx, dy, self._dx)


class Tanh(_Activation):
    """y = tanh x; dy/dx = 1 - y²."""

    def forward(self, x: Array) -> Array:
        """Fill and return y."""
        return np.tanh(x, self.y)

    def backward(self, dy: Array) -> Array:
        """Fill and return ∂L/∂x."""
        np.multiply(self.y, self.y, self._dx)
        np.subtract(self._one, self._dx, self._dx)
        return np.multiply(self._dx, dy, self._dx)


class Sigmoid(_Activation):
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


class Standardize:
    """y = (x - mean) / scale within ± clip, frozen: it stands before all weights, so no gradient passes it.

    The arithmetic is done in `dtype`, x included, as an exported network does it; where the layer takes
    float64, subtracting and dividing are done in that, and the result is rounded. NaN stays NaN.
    """

    def __init__(self, frozen: spec.Standardize, dtype: DTypeLike) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype if frozen.rest is None else np.float64)
        """Of the inputs."""
        self._result: np.dtype[Any] = np.dtype(dtype)
        self._mean: Array = frozen.exact_means.astype(self.dtype)
        self._scale: Array = frozen.scales.astype(self.dtype)
        self._clip = frozen.clip

    def forward(self, x: Array) -> Array:
        """Return a new array of shape (n, d)."""
        with np.errstate(over="ignore"):  # what is infinite is clipped, or shows in the loss
            if self.dtype == self._result:
                y = self._divided(x)
            else:
                y = np.empty(x.shape, self._result)
                for start in range(0, len(x), BLOCK_ROWS):
                    y[start : start + BLOCK_ROWS] = self._divided(x[start : start + BLOCK_ROWS])
        return y if self._clip is None else np.clip(y, -self._clip, self._clip, out=y)

    def _divided(self, x: Array) -> Array:
        y = np.subtract(x, self._mean, dtype=self.dtype)
        return np.divide(y, self._scale, out=y)


class Rescale:
    """y = x · scale + mean, frozen: it stands behind the loss, which is measured before it."""

    def __init__(self, frozen: spec.Rescale, dtype: DTypeLike) -> None:
        self._mean: Array = frozen.means.astype(dtype)
        self._scale: Array = frozen.scales.astype(dtype)

    def forward(self, x: Array) -> Array:
        """Return a new array of shape (n, t), in the targets' own units."""
        y = np.multiply(x, self._scale)
        return np.add(y, self._mean, out=y)

    def invert(self, y: Array) -> Array:
        """Return a new array of shape (n, t), in standard units: (y - mean) / scale."""
        x = np.subtract(y, self._mean, dtype=self._mean.dtype)
        return np.divide(x, self._scale, out=x)


def build(core: tuple[spec.TrainableSpec, ...], inputs: int, rows: int, dtype: DTypeLike) -> list[Layer]:
    """Make the trained layers of a network, with buffers for `rows` samples of `inputs` features."""
    layers: list[Layer] = []
    width, start = inputs, 0
    for layer in core:
        match layer:
            case spec.Dense(units=units):
                layers.append(Dense(rows, width, units, start, dtype))
                start += (width + 1) * units
                width = units
            case spec.ReLU():
                layers.append(ReLU(rows, width, dtype))
            case spec.Tanh():
                layers.append(Tanh(rows, width, dtype))
            case spec.Sigmoid():
                layers.append(Sigmoid(rows, width, dtype))
    return layers
