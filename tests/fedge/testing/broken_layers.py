"""Layers that describe themselves wrongly, each with the law that it breaks."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from fedge.algorithms.registry import Entry
from fedge.nn.layer import LayerSpec, chain, step
from fedge.nn.layers.rescale import Rescale
from fedge.nn.layers.standardize import Standardize
from tests.fedge.testing.scale_layer import Array, OnRows, Samples, Scale, noted_in

BROKEN: Samples = []
breaks = noted_in(BROKEN)


@breaks("fields")
class FieldThatOlderProgramsMiss(Scale):
    added: ClassVar[tuple[str, ...]] = ("gain", "steps")
    steps: int = 1


@breaks("fields")
class FieldThatIsNotThere(Scale):
    added: ClassVar[tuple[str, ...]] = ("bias",)


@breaks("fields")
class FieldThatCannotTravel(Scale):
    table: dict[str, int] = {"a": 1}  # noqa: RUF012


@breaks("shape")
class OtherShapeThanItSays(Scale):
    def output(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        return (*inputs, 2)


@breaks("shape")
class NoShape(Scale):
    def output(self, inputs: tuple[int, ...]) -> tuple[int, ...]:
        return (0,)


@breaks("parameters")
class TwoOfOneName(Scale):
    def parameters(self, inputs: tuple[int, ...]) -> Any:
        return (("weight", inputs), ("weight", inputs))


@breaks("parameters")
class ParameterOfNothing(Scale):
    def parameters(self, inputs: tuple[int, ...]) -> Any:
        return (("weight", (0,)),)


@breaks("initial")
class NotSeeded(Scale):
    def initialize(self, weights: Any, *others: Any) -> None:
        weights["weight"][:] = np.random.default_rng().normal(1, 0.1, weights["weight"].shape)


@breaks("initial")
class DrawsByPrecision(Scale):
    def initialize(self, weights: Any, inputs: Any, following: Any, rng: np.random.Generator) -> None:
        weights["weight"][:] = rng.random(weights["weight"].shape, weights["weight"].dtype)


@breaks("initial")
class BeginsAtInfinity(Scale):
    def initialize(self, weights: Any, *others: Any) -> None:
        weights["weight"][:] = np.inf


@breaks("onnx")
class AddsInTheFile(Scale):
    def operators(self, inputs: Any) -> Any:
        return chain(step("Add", "weight"))


@breaks("onnx")
class NoSuchOperator(Scale):
    def operators(self, inputs: Any) -> Any:
        return chain(step("Scale", "weight"))


@breaks("onnx")
class NoOperators(Scale):
    def operators(self, inputs: Any) -> Any:
        return LayerSpec.operators(self, inputs)


@breaks("onnx")
class OtherShapeInTheFile(Scale):
    def operators(self, inputs: Any) -> Any:
        return chain(step("Mul", "weight"), step("Unsqueeze", "axes"), axes=np.array([0]))


@breaks("folding")
class SaysThatItFolds(Scale):
    def take_before(self, weights: Any, factor: Array, shift: Array) -> bool:
        return True


@breaks("folding")
class FoldsWithoutAWord(Scale):
    def take_behind(self, weights: Any, scale: Array, shift: Array, by: Array) -> bool:
        weights["weight"] *= scale
        return False


class _Softplus(OnRows):
    def forward(self, x: Array) -> Array:
        self._x = x
        np.exp(x, self.y)
        np.add(self.y, self.y.dtype.type(1), self.y)
        return np.log(self.y, self.y)

    def backward(self, dy: Array) -> Array:
        np.exp(np.negative(self._x, self._dx), self._dx)
        np.add(self._dx, self._dx.dtype.type(1), self._dx)
        return np.divide(dy, self._dx, self._dx)

    def gradients(self, dy: Array) -> Iterator[Any]:
        yield from ()


@breaks("finite")
class Overflows(Scale):
    computes: ClassVar[Any] = _Softplus

    def parameters(self, inputs: tuple[int, ...]) -> Any:
        return ()

    def initialize(self, *given: Any) -> None:
        pass

    def operators(self, inputs: Any) -> Any:
        return chain(step("Softplus"))


class _Frozen:
    """What a frozen layer makes, changed."""

    def __init__(self, right: Any, forward: Any, invert: Any) -> None:
        self.dtype, self.forward, self.invert = right.dtype, forward, invert


@breaks("inverse")
class InvertsToTheWrongSide(Rescale):
    def transform(self, dtype: Any) -> Any:
        right = super().transform(dtype)
        return _Frozen(right, right.forward, right.forward)


@breaks("precision")
class FrozenInFloat64(Rescale):
    def transform(self, dtype: Any) -> Any:
        return super().transform(np.dtype(np.float64))


@breaks("rows")
class FrozenByTheBatch(Standardize):
    def transform(self, dtype: Any) -> Any:
        right = super().transform(dtype)
        return _Frozen(right, lambda x: (y := right.forward(x)) - y.mean(0), right.invert)


@breaks("onnx")
class ForgetsItsGaps(Standardize):
    def operators(self, inputs: Any, fills: bool = False) -> Any:
        return super().operators(inputs)


@breaks("name")
class AnotherName(Scale):
    @classmethod
    def named(cls) -> str:
        return "other"


BROKEN[-1] = ("name", lambda: Entry("layer", "scale", lambda spec: spec, AnotherName))
BROKEN.append(("name", lambda: Entry("codec", "scale", lambda spec: spec, Scale)))
