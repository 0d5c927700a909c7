"""The laws of `check_layer` for layers with parameters that are trained."""

import re
import tracemalloc
from math import prod
from typing import Any

import numpy as np

from fedge.nn.layer import Array, Layer, LayerSpec
from fedge.nn.schema import Schema, Shape
from fedge.testing.laws import law, require, same
from fedge.testing.operators import check_operators, near

ROWS = 5
H = 1e-5
SLOPE = 1e-6
"""How far a derivative may be from a central difference with step `H` in float64, as a share of the largest.

The formula's own error is some 1e-10 here, and rounding adds 1e-16 / H.
"""
LARGE = 1e3
"""Size of inputs that must not make a layer overflow."""
LARGE_ENTRIES = 65_536
"""Entries of the batch that memory is measured with; NumPy's own buffers have 8,192 entries."""
SPARE = 0.5
"""Of such a batch's bytes: what a step may allocate, which is room for views and no array of results."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_START = 3
"""Where the layer's parameters begin in the flat vector that it is tried with."""


class Trial:
    """Checks one layer on one input shape."""

    def __init__(self, spec: LayerSpec, inputs: Shape, rng: np.random.Generator) -> None:
        self.spec, self.inputs, self.rng = spec, inputs, rng
        self.outputs, self.parameters = spec.output(inputs), spec.parameters(inputs)
        self.where = f"on samples of shape {inputs}"
        sides = isinstance(self.outputs, tuple) and all(type(side) is int for side in self.outputs)
        require(sides and min(self.outputs, default=0) > 0, "shape", f"{self.outputs} {self.where}")
        names = [name for name, _ in self.parameters]
        named = len(set(names)) == len(names) and all(_NAME.fullmatch(name) for name in names)
        require(named, "parameters", f"they are called {names} {self.where}")
        with law("parameters", f"counting them {self.where}"):
            self.schema = Schema.of(self.parameters)
        self.place = slice(_START, _START + self.schema.size)

    def check(self) -> None:
        """Check all laws of a trained layer."""
        self._initial()
        for dtype in (np.float32, np.float64):
            self._step(np.dtype(dtype))
        self._slopes()
        self._early()
        self._allocations()
        self._large()
        self._onnx()
        self._folding()

    def _samples(self, rows: int = ROWS, dtype: Any = np.float64, spread: float = 1.0) -> Array:
        return self.rng.normal(0, spread, (rows, prod(self.inputs))).astype(dtype)

    def _towards(self, rows: int = ROWS, dtype: Any = np.float64) -> Array:
        return self.rng.normal(size=(rows, prod(self.outputs))).astype(dtype)

    def _changes(self, width: int) -> tuple[Array, Array]:
        return self.rng.uniform(0.5, 2, (width,)), self.rng.normal(size=(width,))

    def _weights(self, dtype: Any = np.float64) -> Array:
        """A flat vector that is larger than the layer, with random weights in the layer's place."""
        vector = self._first(dtype, 0)
        vector += self.rng.normal(0, 0.3, len(vector)).astype(dtype)
        return vector

    def _first(self, dtype: Any, seed: int) -> Array:
        vector = np.zeros(self.place.stop + 2, dtype)
        views = self.schema.views(vector[self.place])
        self.spec.initialize(views, self.inputs, None, np.random.default_rng(seed))
        return vector

    def _made(self, vector: Array, rows: int = ROWS) -> Layer:
        layer = self.spec.build(self.inputs, rows, self.place, vector.dtype)
        layer.bind(vector)
        return layer

    def _gradient(self, layer: Layer, dy: Array, size: int) -> Array:
        """The whole gradient as a vector; NaN where no piece was given."""
        whole = np.full(size, np.nan, dy.dtype)
        for place, values in layer.gradients(dy):
            require(values.dtype == dy.dtype, "precision", f"a piece is {values.dtype} {self.where}")
            once = np.isnan(whole[place]).all() and whole[place].shape == values.shape
            require(once, "parameters", f"the piece at {place} does not fit there {self.where}")
            whole[place] = values
        covered = ~np.isnan(whole)
        exact = covered[self.place].all() and covered.sum() == self.schema.size
        require(exact, "parameters", f"{covered.sum()} of {self.schema.size} derivatives {self.where}")
        return whole[self.place]

    def _initial(self) -> None:
        narrow, wide, again = (self._first(d, 1) for d in (np.float32, np.float64, np.float32))
        require(np.isfinite(wide).all(), "initial", f"a weight is not finite {self.where}")
        require(same(narrow, again), "initial", f"the same seed gives other weights {self.where}")
        near = np.allclose(narrow, wide, rtol=1e-6, atol=1e-7)
        require(near, "initial", f"float64 has other weights than float32 {self.where}")

    def _step(self, dtype: np.dtype[Any]) -> None:
        """One step twice, with another layer's between: `shape` to `buffers`."""
        vector, x, dy = self._weights(dtype), self._samples(dtype=dtype), self._towards(dtype=dtype)
        kept = [array.copy() for array in (vector, x, dy)]
        layer, other = self._made(vector), self._made(self._weights(dtype))
        y = layer.forward(x)
        require(y.shape == (ROWS, prod(self.outputs)), "shape", f"the output is {y.shape} {self.where}")
        require(y.dtype == dtype, "precision", f"the output is {y.dtype} for {dtype} {self.where}")
        require(y is layer.y, "buffers", f"`forward` gives another array than `y` {self.where}")
        other.forward(self._samples(dtype=dtype))
        dx = layer.backward(dy)
        require(dx.shape == x.shape, "shape", f"∂L/∂x is {dx.shape} {self.where}")
        require(dx.dtype == dtype, "precision", f"∂L/∂x is {dx.dtype} for {dtype} {self.where}")
        first = [y.copy(), dx.copy(), self._gradient(layer, dy, len(vector))]
        for array, before in zip((vector, x, dy), kept, strict=True):
            require(same(array, before), "arguments", f"an argument has changed {self.where}")
        other.backward(self._towards(dtype=dtype))
        layer.forward(self._samples(dtype=dtype))
        layer.backward(self._towards(dtype=dtype))
        mine = layer.forward(x) is y and layer.backward(dy) is dx
        require(mine, "buffers", f"another array is filled the second time {self.where}")
        second = [y, dx, self._gradient(layer, dy, len(vector))]
        pairs = zip(("output", "∂L/∂x", "gradient"), first, second, strict=True)
        for what, one, two in pairs:
            require(same(one, two), "repeated", f"the {what} is another one the second time {self.where}")
        for row in range(ROWS):
            alone = self._made(vector, rows=1).forward(x[row : row + 1])
            require(near(alone, y[row : row + 1]), "rows", f"row {row} alone is another one {self.where}")
        if self.schema.size:
            vector[self.place] += 1
            fresh = self._made(vector.copy()).forward(x)
            require(same(layer.forward(x), fresh), "views", f"changed weights do not count {self.where}")

    def _slopes(self) -> None:
        vector, x, dy = self._weights(), self._samples(), self._towards()
        layer = self._made(vector)
        layer.forward(x)
        dx, gradient = layer.backward(dy).copy(), self._gradient(layer, dy, len(vector))
        for what, array, told in (("input", x, dx), ("weights", vector[self.place], gradient)):
            slopes = np.empty_like(told)
            for at in np.ndindex(array.shape):
                kept, sums = array[at], []
                for moved in (kept + H, kept - H):
                    array[at] = moved
                    sums.append(float(np.sum(layer.forward(x) * dy)))
                array[at] = kept
                slopes[at] = (sums[0] - sums[1]) / (2 * H)
            apart = float(np.abs(told - slopes).max(initial=0)) / max(1, np.abs(slopes).max(initial=0))
            text = f"the derivative in the {what} is off by {apart:.1e} of its size {self.where}"
            require(apart <= SLOPE, "gradient", text)

    def _early(self) -> None:
        vector, x, dy = self._weights(), self._samples(), self._towards()
        layer = self._made(vector)
        layer.forward(x)
        layer.backward(dy)
        expected, found = self._gradient(layer, dy, len(vector)), np.empty_like(vector)
        for place, values in layer.gradients(dy):
            found[place] = values
            vector[place] = np.nan
        require(same(found[self.place], expected), "early", f"a weight is read after its piece {self.where}")

    def _allocations(self) -> None:
        rows = LARGE_ENTRIES // min(prod(self.inputs), prod(self.outputs)) + 1
        vector = self._weights(np.float32)
        x, dy = self._samples(rows, np.float32), self._towards(rows, np.float32)
        layer = self._made(vector, rows)
        for _ in range(2):  # the first one may set things up
            tracemalloc.start()
            try:
                layer.forward(x)
                layer.backward(dy)
                for _piece in layer.gradients(dy):
                    pass
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        text = f"a step allocates {peak} bytes for inputs of {x.nbytes} {self.where}"
        require(peak <= SPARE * min(x.nbytes, dy.nbytes), "buffers", text)

    def _large(self) -> None:
        signs = np.sign(self._samples(dtype=np.float32))
        vector, dy = self._first(np.float32, 2), self._towards(dtype=np.float32)
        layer = self._made(vector)
        with np.errstate(all="ignore"):
            y = layer.forward((LARGE * signs).astype(np.float32))
            dx = layer.backward(dy)
            gradient = [values.copy() for _, values in layer.gradients(dy)]
        finite = all(np.isfinite(array).all() for array in (y, dx, *gradient))
        require(finite, "finite", f"inputs of ±{LARGE:g} {self.where}")

    def _onnx(self) -> None:
        vector, x = self._weights(np.float32), self._samples(dtype=np.float32)
        with law("onnx", f"`operators` {self.where}"):
            operators = self.spec.operators(self.inputs)
        y = self._made(vector).forward(x)
        check_operators(operators, self.schema.views(vector[self.place]), x, y, self.where)

    def _folding(self) -> None:
        x = self._samples()
        factor, shift = self._changes(x.shape[1])
        vector = self._weights()
        before = self._made(vector.copy()).forward(x * factor + shift).copy()
        kept, views = vector.copy(), self.schema.views(vector[self.place])
        done = self.spec.take_before(views, factor, shift)
        right = near(self._made(vector).forward(x), before) if done else same(vector, kept)
        require(right, "folding", f"`take_before` says {done} {self.where}")
        y = self._made(vector).forward(x).copy()
        (scale, shift), (by, _) = self._changes(y.shape[1]), self._changes(y.shape[1])
        kept = vector.copy()
        done = self.spec.take_behind(views, scale, shift, by)
        expected = (y * scale + shift) / by
        right = near(self._made(vector).forward(x), expected) if done else same(vector, kept)
        require(right, "folding", f"`take_behind` says {done} {self.where}")
