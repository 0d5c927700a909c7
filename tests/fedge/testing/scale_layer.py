"""A layer y = x · w, with a weight a column, that keeps all laws; others break one in it."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any, ClassVar, Literal

import numpy as np

from fedge.algorithms.registry import Entry
from fedge.nn.layer import LayerSpec, chain, entry, step

Array = np.ndarray


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


Samples = list[tuple[str, Callable[[], Entry[Any]]]]


def noted_in(samples: Samples) -> Callable[[str], Callable[[type], type]]:
    """A decorator that notes a sample by the law that it breaks: a spec, or what computes for it."""

    def breaks(law: str) -> Callable[[type], type]:
        def note(sample: type) -> type:
            if issubclass(sample, LayerSpec):
                samples.append((law, lambda: entry(sample)))
            else:
                samples.append((law, lambda: entry(with_it(sample))))
            return sample

        return note

    return breaks


def with_it(sample: type[OnRows]) -> type[Scale]:
    class Broken(Scale):
        computes: ClassVar[Any] = sample

    return Broken
