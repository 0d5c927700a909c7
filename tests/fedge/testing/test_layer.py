"""`check_layer` passes what is right, and names the law that each broken sample breaks."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

from examples.extend import conv1d
from fedge.algorithms.registry import LAYERS, Entry
from fedge.nn.layer import LayerSpec, chain, entry, step
from fedge.nn.layers.rescale import Rescale
from fedge.nn.layers.standardize import Standardize
from fedge.testing import BrokenLaw, check_layer, operators

Array = np.ndarray
MEAN_AND_SCALE = dict(Standardize.example)
REST = {"rest": np.array([1e-7, 0, 1e-5], "<f4").tobytes()}


@pytest.mark.parametrize("name", LAYERS.names())
def test_the_built_in_ones_keep_the_laws(name: str) -> None:
    check_layer(LAYERS.entries()[name])


@pytest.mark.parametrize("more", [{"clip": 1.0}, REST, {"clip": 1.0, **REST}], ids=["clip", "rest", "both"])
def test_the_frozen_first_one_keeps_them_in_each_of_its_forms(more: dict[str, Any]) -> None:
    check_layer(LAYERS.entries()["standardize"], MEAN_AND_SCALE | more)


@pytest.mark.parametrize("options", [None, {"filters": 1, "width": 1}, {"filters": 3, "width": 2}])
def test_one_from_outside_keeps_them(options: dict[str, Any] | None) -> None:
    check_layer(conv1d.ENTRY, options)


# A layer y = x · w, with a weight a column, and what breaks in it


class OnRows:
    """Right in all."""

    def __init__(self, width: int, rows: int, place: slice, dtype: Any) -> None:
        self.y, self._dx, self._product = (np.empty((rows, width), dtype) for _ in range(3))
        self._gradient, self._ones, self._place = np.empty(width, dtype), np.ones(rows, dtype), place

    def bind(self, vector: Array) -> None:
        self._w = vector[self._place]

    def forward(self, x: Array) -> Array:
        self._x = x
        return np.multiply(x, self._w, self.y)

    def backward(self, dy: Array) -> Array:
        return np.multiply(dy, self._w, self._dx)

    def gradients(self, dy: Array) -> Iterator[tuple[slice, Array]]:
        np.multiply(self._x, dy, self._product)
        yield self._place, self._ones.dot(self._product, self._gradient)


class Scale(LayerSpec):
    """Weights of its own for each column."""

    type: Literal["scale"] = "scale"
    gain: float | None = None

    computes: ClassVar[Any] = OnRows
    added: ClassVar[tuple[str, ...]] = ("gain",)

    def parameters(self, inputs: tuple[int, ...]) -> Any:
        return (("weight", (prod(inputs),)),)

    def initialize(self, weights: Any, inputs: Any, following: Any, rng: np.random.Generator) -> None:
        weights["weight"][:] = rng.normal(1, 0.1, weights["weight"].shape)

    def build(self, inputs: tuple[int, ...], rows: int, place: slice, dtype: Any) -> OnRows:
        return self.computes(prod(inputs), rows, place, dtype)

    def operators(self, inputs: Any) -> Any:
        return chain(step("Mul", "weight"))


def test_the_sample_itself_keeps_the_laws() -> None:
    check_layer(entry(Scale))


BROKEN: list[tuple[str, Callable[[], Entry[Any]]]] = []


def breaks(law: str) -> Callable[[type], type]:
    """Note a sample: a spec, or what computes for it."""

    def note(sample: type) -> type:
        if issubclass(sample, LayerSpec):
            BROKEN.append((law, lambda: entry(sample)))
        else:
            BROKEN.append((law, lambda: entry(with_it(sample))))
        return sample

    return note


def with_it(sample: type[OnRows]) -> type[Scale]:
    class Broken(Scale):
        computes: ClassVar[Any] = sample

    return Broken


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


@breaks("shape")
class OtherDerivativeThanInput(OnRows):
    def backward(self, dy: Array) -> Array:
        return super().backward(dy)[:, :0]


@breaks("parameters")
class TwoOfOneName(Scale):
    def parameters(self, inputs: tuple[int, ...]) -> Any:
        return (("weight", inputs), ("weight", inputs))


@breaks("parameters")
class ParameterOfNothing(Scale):
    def parameters(self, inputs: tuple[int, ...]) -> Any:
        return (("weight", (0,)),)


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


@pytest.mark.parametrize(
    ("law", "make"), BROKEN, ids=[f"{number}-{law}" for number, (law, _) in enumerate(BROKEN)]
)
def test_a_broken_one_is_told_by_the_law_that_it_breaks(law: str, make: Callable[[], Entry[Any]]) -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_layer(make())
    assert caught.value.law == law, caught.value


def test_who_takes_no_shape_must_be_told_one() -> None:
    with pytest.raises(ValueError, match="shapes="):
        check_layer(conv1d.ENTRY, {"width": 100})
    check_layer(conv1d.ENTRY, {"width": 100}, shapes=[(101,)])


def test_without_onnx_it_says_what_was_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operators, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="onnx"):
        check_layer(entry(AddsInTheFile))
