"""Layers that compute wrongly, each with the law that it breaks."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from tests.fedge.testing.scale_layer import Array, OnRows, Samples, noted_in

BROKEN: Samples = []
breaks = noted_in(BROKEN)


@breaks("shape")
class OtherDerivativeThanInput(OnRows):
    def backward(self, dy: Array) -> Array:
        return super().backward(dy)[:, :0]


@breaks("parameters")
class LeavesOneOut(OnRows):
    def gradients(self, dy: Array) -> Iterator[Any]:
        for place, values in super().gradients(dy):
            yield slice(place.start, place.stop - 1), values[:-1]


@breaks("parameters")
class YieldsTwice(OnRows):
    def gradients(self, dy: Array) -> Iterator[Any]:
        yield from super().gradients(dy)
        yield from super().gradients(dy)


@breaks("parameters")
class BeginsAtZero(OnRows):
    def gradients(self, dy: Array) -> Iterator[Any]:
        for _, values in super().gradients(dy):
            yield slice(0, len(values)), values


@breaks("precision")
class Widens(OnRows):
    def __init__(self, width: int, rows: int, place: slice, dtype: Any) -> None:
        super().__init__(width, rows, place, np.float64)


@breaks("precision")
class WidensWhatGoesDown(OnRows):
    def backward(self, dy: Array) -> Array:
        return super().backward(dy).astype(np.float64)


@breaks("precision")
class WidensItsGradient(OnRows):
    def gradients(self, dy: Array) -> Iterator[Any]:
        yield from ((place, values.astype(np.float64)) for place, values in super().gradients(dy))


@breaks("gradient")
class ForgetsItsWeights(OnRows):
    def backward(self, dy: Array) -> Array:
        np.copyto(self._dx, dy)
        return self._dx


@breaks("gradient")
class MeanForSum(OnRows):
    def gradients(self, dy: Array) -> Iterator[Any]:
        for place, values in super().gradients(dy):
            yield place, np.divide(values, len(dy), values)


@breaks("early")
class ReadsWeightsAgain(OnRows):
    def gradients(self, dy: Array) -> Iterator[Any]:
        ((place, values),) = super().gradients(dy)
        first = self._w[0] * values[0]
        yield slice(place.start, place.start + 1), values[:1]
        np.add(values[1:], self._w[0] * values[0] - first, values[1:])
        yield slice(place.start + 1, place.stop), values[1:]


@breaks("views")
class CopiesItsWeights(OnRows):
    def bind(self, vector: Array) -> None:
        super().bind(vector.copy())


@breaks("rows")
class LooksAtTheBatch(OnRows):
    def forward(self, x: Array) -> Array:
        super().forward(x)
        return np.subtract(self.y, self.y.mean(0), self.y)


@breaks("arguments")
class ChangesItsInput(OnRows):
    def forward(self, x: Array) -> Array:
        self._x = np.multiply(x, self._w, x)
        np.copyto(self.y, x)
        return self.y


@breaks("arguments")
class ChangesWhatComesDown(OnRows):
    def backward(self, dy: Array) -> Array:
        np.multiply(dy, self._w, dy)
        np.copyto(self._dx, dy)
        return self._dx


@breaks("repeated")
class SharesABuffer(OnRows):
    shared: ClassVar[dict[Any, Array]] = {}

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.y = self.shared.setdefault((self.y.shape, self.y.dtype), self.y)


@breaks("repeated")
class RemembersSteps(OnRows):
    count = 0

    def forward(self, x: Array) -> Array:
        self.count += 1
        return np.multiply(super().forward(x), self.count, self.y)


@breaks("buffers")
class NewOutputEachTime(OnRows):
    def forward(self, x: Array) -> Array:
        self.y = np.empty_like(self.y)
        return super().forward(x)


@breaks("buffers")
class OutputThatIsNotItsOwn(OnRows):
    def forward(self, x: Array) -> Array:
        return super().forward(x).copy()


@breaks("buffers")
class ScratchOnEachStep(OnRows):
    def forward(self, x: Array) -> Array:
        np.copyto(self.y, x * self._w)
        self._x = x
        return self.y
