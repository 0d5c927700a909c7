"""Standardize inputs with the survey's constants, first in the network, so that it takes raw features."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from fedge.nn.affine import Affine
from fedge.nn.layer import Array, entry
from fedge.nn.operators import FLOAT, INPUT, Node, Operators
from fedge.nn.schema import Shape

LEAST_CLIP, MOST_CLIP = 1.0, 1e6
"""The limits of the bound on standardized inputs, in standard deviations."""
BLOCK_ROWS = 4_096
"""Rows standardized at a time, so that copies in float64 stay small."""


class Standardize(Affine):
    """(x - mean - rest) / scale within ± clip, frozen: the survey's constants, first in the network."""

    type: Literal["standardize"] = "standardize"
    clip: float | None = Field(default=None, ge=LEAST_CLIP, le=MOST_CLIP, allow_inf_nan=False)
    """The bound in standard deviations; None: no clipping, as in 0.2.0."""
    rest: bytes | None = Field(default=None, min_length=4)
    """The part of the means that float32 cannot hold, as little-endian float32. It is set if a column is too
    fine for float32: inputs are then float64, and subtracted and divided in float64. None: all is float32,
    as in 0.2.0."""

    added: ClassVar[tuple[str, ...]] = ("clip", "rest")
    stands: ClassVar[Literal["first", "between", "last"]] = "first"

    @model_validator(mode="after")
    def _check_rest(self) -> "Standardize":
        if self.rest is not None:
            if len(self.rest) != len(self.mean):
                raise ValueError("rest must hold as many float32 values as mean")
            if not np.isfinite(self.exact_means).all():
                raise ValueError("rest must be finite")
        return self

    @property
    def exact_means(self) -> NDArray[np.float64]:
        """The means with their rest, of shape (d,)."""
        means = self.means.astype(np.float64)
        return means if self.rest is None else means + np.frombuffer(self.rest, dtype="<f4")

    @property
    def bound(self) -> float | None:
        """The clip."""
        return self.clip

    @property
    def takes_float64(self) -> bool:
        """Whether there is a rest."""
        return self.rest is not None

    @property
    def tensors(self) -> Mapping[str, Array]:
        """The fields that are arrays, by name."""
        rest = {} if self.rest is None else {"rest": np.frombuffer(self.rest, dtype="<f4")}
        return {**super().tensors, **rest}

    def transform(self, dtype: np.dtype[Any]) -> "_Standardize":
        """Make the object that computes it."""
        return _Standardize(self, dtype)

    def operators(self, inputs: Shape, fills: bool = False) -> Operators:
        """Subtract, divide, and clip, in the order of `transform`.

        If inputs are float64, missing values are filled after the division, with 0, which is the mean: tract
        0.23 has no `IsNaN` for float64. Otherwise they are filled first.
        """
        last, nodes = INPUT, []

        def add(operator: str, names: tuple[str, ...], output: str, **attributes: int) -> str:
            nodes.append(Node(operator, names, output, attributes))
            return output

        def fill(value: str) -> str:
            return add("Where", (add("IsNaN", (last,), "missing"), value, last), "filled")

        wide = self.takes_float64
        if fills and not wide:
            last = fill("mean")
        last = add("Div", (add("Sub", (last, "mean"), "sub"), "scale"), "div")
        if wide:
            last = add("Cast", (last,), "cast", to=FLOAT)
        if fills and wide:
            last = fill("zero")
        if self.clip is not None:
            add("Clip", (last, "low", "high"), "clip")
        return Operators(tuple(nodes), self._constants(zero=fills and wide))

    def _constants(self, *, zero: bool) -> dict[str, Array]:
        exact = {"mean": self.exact_means, "scale": self.scales.astype(np.float64)}
        constants: dict[str, Array] = {**(exact if self.takes_float64 else super().tensors)}
        if self.clip is not None:
            constants |= {"low": np.array(-self.clip, np.float32), "high": np.array(self.clip, np.float32)}
        return constants | ({"zero": np.zeros((), np.float32)} if zero else {})


class _Standardize:
    """y = (x - mean) / scale within ± clip, frozen: it comes before all weights, so it needs no gradient.

    The arithmetic is in `dtype`, x included, as in an exported network. If the layer takes float64, it
    subtracts and divides in float64, and rounds the result. NaN stays NaN.
    """

    def __init__(self, frozen: Standardize, dtype: np.dtype[Any]) -> None:
        self.dtype: np.dtype[Any] = np.dtype(np.float64) if frozen.takes_float64 else dtype
        """The dtype of the inputs."""
        self._result = dtype
        self._mean: Array = frozen.exact_means.astype(self.dtype)
        self._scale: Array = frozen.scales.astype(self.dtype)
        self._clip = frozen.clip

    def forward(self, x: Array) -> Array:
        """Return a new array of shape (n, d)."""
        with np.errstate(over="ignore"):  # infinities are clipped, or show in the loss
            if self.dtype == self._result:
                y = self._divided(x)
            else:
                y = np.empty(x.shape, self._result)
                for start in range(0, len(x), BLOCK_ROWS):
                    y[start : start + BLOCK_ROWS] = self._divided(x[start : start + BLOCK_ROWS])
        return y if self._clip is None else np.clip(y, -self._clip, self._clip, out=y)

    def invert(self, y: Array) -> Array:
        """Return a new array of shape (n, d), in the features' own units: y · scale + mean."""
        x = np.multiply(y, self._scale, dtype=self.dtype)
        return np.add(x, self._mean, out=x)

    def _divided(self, x: Array) -> Array:
        y = np.subtract(x, self._mean, dtype=self.dtype)
        return np.divide(y, self._scale, out=y)


ENTRY = entry(Standardize)
