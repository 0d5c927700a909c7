"""The parent of frozen layers: a shift and a scale for each column, fixed by the survey.

Frozen layers are not trained. One may come before all others (`stands = "first"`), one after them
(`"last"`).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fedge.nn.layer import Array, LayerSpec
from fedge.nn.operators import Operators
from fedge.nn.schema import Shape


class Transform(Protocol):
    """A frozen layer's arithmetic."""

    dtype: np.dtype[Any]
    """The dtype of its inputs."""

    def forward(self, x: Array) -> Array:
        """Return a new array of the shape of x, (n, d), in the network's precision; n may vary."""

    def invert(self, y: Array) -> Array:
        """Return a new array x of shape (n, d) for which `forward` returns y."""


class Affine(LayerSpec):
    """A frozen layer with `mean` and `scale`, which hold d little-endian float32 values each."""

    mean: bytes = Field(min_length=4)
    scale: bytes = Field(min_length=4)

    stands: ClassVar[Literal["first", "between", "last"]] = "first"
    example: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "mean": np.array([3, -0.5, 400], "<f4").tobytes(),
            "scale": np.array([2, 0.25, 30], "<f4").tobytes(),
        }
    )

    @model_validator(mode="after")
    def _check(self) -> "Affine":
        if len(self.mean) != len(self.scale) or len(self.mean) % 4:
            raise ValueError("mean and scale must hold the same number of little-endian float32 values")
        if not (np.isfinite(self.means).all() and np.isfinite(self.scales).all() and (self.scales > 0).all()):
            raise ValueError("mean must be finite, and scale finite and above zero")
        return self

    @property
    def summary(self) -> str:
        """The layer's name."""
        return self.name

    @property
    def means(self) -> NDArray[np.float32]:
        """The shift of each column, of shape (d,)."""
        return np.frombuffer(self.mean, dtype="<f4")

    @property
    def scales(self) -> NDArray[np.float32]:
        """The standard deviation of each column, of shape (d,), above zero."""
        return np.frombuffer(self.scale, dtype="<f4")

    @property
    def exact_means(self) -> NDArray[np.float64]:
        """The shift of each column in full precision, of shape (d,)."""
        return self.means.astype(np.float64)

    @property
    def bound(self) -> float | None:
        """The number of standard deviations at which inputs are clipped; None: no clipping."""
        return None

    @property
    def takes_float64(self) -> bool:
        """Whether inputs must be float64."""
        return False

    @property
    def tensors(self) -> Mapping[str, Array]:
        """The fields that are arrays, by name."""
        return {"mean": self.means, "scale": self.scales}

    def output(self, inputs: Shape) -> Shape:
        """The same shape.

        Raises:
            ValueError: the number of columns differs from the survey's.
        """
        if inputs != (len(self.means),):
            raise ValueError(f"{self.name} holds {len(self.means)} columns for {'×'.join(map(str, inputs))}")
        return inputs

    def transform(self, dtype: np.dtype[Any]) -> Transform:
        """Make the object that computes the layer in a network of this precision."""
        raise NotImplementedError(f"layer {self.name!r} computes nothing")

    def operators(self, inputs: Shape, fills: bool = False) -> Operators:
        """The same function as ONNX operators.

        Args:
            inputs: the shape of a sample.
            fills: a missing value (NaN) counts as the mean of its column.
        """
        raise NotImplementedError(f"layer {self.name!r} has no ONNX operators")
