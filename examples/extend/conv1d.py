"""A convolution over time (Waibel et al. 1989, "Phoneme recognition using time-delay neural networks")."""

from math import prod
from typing import Any, Literal

import numpy as np
from pydantic import Field

from fedge.nn.layer import Array, Layer, LayerSpec, Operators, Shape, chain, entry, step
from fedge.nn.layers.dense import Dense


class Conv1d(LayerSpec):
    """A dense layer for each window of samples (length,) or (length, channels)."""

    type: Literal["conv1d"] = "conv1d"
    filters: int = Field(default=8, ge=1, le=1024)
    width: int = Field(default=3, ge=1, le=1024)

    def output(self, inputs: Shape) -> Shape:
        if inputs[0] < self.width:
            raise ValueError(f"expected samples of {self.width} steps or more, got {inputs}")
        return (inputs[0] - self.width + 1, self.filters)

    def parameters(self, inputs: Shape) -> tuple[tuple[str, Shape], ...]:
        return Dense(units=self.filters).parameters((self.width, *inputs[1:]))

    def build(self, inputs: Shape, rows: int, place: slice, dtype: Any) -> "_Conv1d":
        channels, steps = prod(inputs[1:]), inputs[0] - self.width + 1
        at = channels * np.arange(steps)[:, None] + np.arange(channels * self.width)
        return _Conv1d(Dense(units=self.filters).build(at[0].shape, rows * steps, place, dtype), at, rows)

    def operators(self, inputs: Shape) -> Operators:
        at = self.build(inputs, 1, slice(0, 0), np.float32).at
        steps = step("Gather", "at", axis=1), step("MatMul", "weight"), step("Add", "bias"), step("Flatten")
        return chain(*steps, at=at)


class _Conv1d:
    def __init__(self, dense: Layer, at: Array, rows: int) -> None:
        self.at, self._dense, self.y, self.bind = at, dense, dense.y.reshape(rows, -1), dense.bind
        self._dx = np.empty((rows, at.max() + 1), dense.y.dtype)
        self._windows = np.empty((rows, *at.shape), dense.y.dtype)

    def forward(self, x: Array) -> Array:
        self._dense.forward(x.take(self.at, 1, self._windows, "clip").reshape(-1, self.at.shape[1]))
        return self.y

    def backward(self, dy: Array) -> Array:
        by_window = self._dense.backward(dy.reshape(self._dense.y.shape)).reshape(self._windows.shape)
        self._dx.fill(0)
        for t, at in enumerate(self.at):
            self._dx[:, at[0] : at[-1] + 1] += by_window[:, t]
        return self._dx

    def gradients(self, dy: Array) -> Any:
        return self._dense.gradients(dy.reshape(self._dense.y.shape))


ENTRY = entry(Conv1d)
