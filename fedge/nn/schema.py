"""Named shapes and their slices of one flat vector (law 3).

A model's weights are one flat vector of p numbers; a `Schema` maps each parameter to a slice of it. Layers
and gradients are views. So an SGD step is one axpy, a message holds one buffer, and averaging, clipping,
noise and masks work on `(p,)` or `(n, p)` arrays and never on trees.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Schema:
    """The names and shapes of a model's parameters, in the order of their slices.

    >>> schema = Schema((("0.weight", (3, 2)), ("0.bias", (2,))))
    >>> schema.size
    8
    >>> schema.slices["0.bias"]
    slice(6, 8, None)
    """

    parameters: tuple[tuple[str, Shape], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.parameters]
        if len(set(names)) != len(names):
            raise ValueError(f"parameter names must differ, got {names}")
        for name, shape in self.parameters:
            if any(side < 1 for side in shape):
                raise ValueError(f"parameter {name!r}: every side must be at least 1, got {shape}")

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, Iterable[int]]]) -> "Schema":
        """Build a schema from any iterables of names and shapes."""
        return cls(tuple((name, tuple(shape)) for name, shape in parameters))

    @cached_property
    def size(self) -> int:
        """p, the number of entries of the flat vector."""
        return sum(prod(shape) for _, shape in self.parameters)

    @cached_property
    def slices(self) -> dict[str, slice]:
        """The slice of each parameter in the flat vector."""
        slices, start = {}, 0
        for name, shape in self.parameters:
            slices[name] = slice(start, start + prod(shape))
            start += prod(shape)
        return slices

    def views(self, vector: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The parameters in `vector`, of shape (p,), by name, as views of their own shapes, without copies.

        Raises:
            ValueError: `vector` is not a contiguous array of shape (p,).
        """
        if vector.shape != (self.size,) or not vector.flags.c_contiguous:
            raise ValueError(
                f"expected a contiguous vector of shape ({self.size},), got shape {vector.shape}"
            )
        return {name: vector[self.slices[name]].reshape(shape) for name, shape in self.parameters}

    def flatten(self, parameters: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Copy named arrays into one new flat float32 vector: the inverse of `views`.

        Raises:
            ValueError: a name is missing or unknown, or a shape differs.
        """
        expected = dict(self.parameters)
        if parameters.keys() != expected.keys():
            raise ValueError(f"expected the parameters {sorted(expected)}, got {sorted(parameters)}")
        for name, shape in self.parameters:
            if parameters[name].shape != shape:
                raise ValueError(f"parameter {name!r}: expected shape {shape}, got {parameters[name].shape}")
        vector = np.empty(self.size, dtype=np.float32)
        for name, view in self.views(vector).items():
            view[...] = parameters[name]
        return vector
