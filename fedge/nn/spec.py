"""What a network is, as plain checked data: it travels in the task and is written in `federation.toml`.

A spec holds everything but the trained weights, the constants of its frozen layers included, so spec and
flat vector together are the whole model: enough to predict, to train, and to export.
"""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fedge.schema import Schema

MAX_WIDTH = 65_536
MAX_LAYERS = 64
MAX_WEIGHTS = 50_000_000


class _Layer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Dense(_Layer):
    """x W + b, with W of shape (inputs, units) and b of shape (units,)."""

    type: Literal["dense"] = "dense"
    units: int = Field(ge=1, le=MAX_WIDTH)


class ReLU(_Layer):
    """max(x, 0)."""

    type: Literal["relu"] = "relu"


class Tanh(_Layer):
    """tanh x."""

    type: Literal["tanh"] = "tanh"


class Sigmoid(_Layer):
    """1 / (1 + exp(-x))."""

    type: Literal["sigmoid"] = "sigmoid"


class _Affine(_Layer):
    mean: bytes = Field(min_length=4)
    scale: bytes = Field(min_length=4)

    @model_validator(mode="after")
    def _check(self) -> "_Affine":
        if len(self.mean) != len(self.scale) or len(self.mean) % 4:
            raise ValueError("mean and scale must hold the same number of little-endian float32 values")
        if not (np.isfinite(self.means).all() and np.isfinite(self.scales).all() and (self.scales > 0).all()):
            raise ValueError("mean must be finite, and scale finite and above zero")
        return self

    @property
    def means(self) -> NDArray[np.float32]:
        """The shift of each column, of shape (d,)."""
        return np.frombuffer(self.mean, dtype="<f4")

    @property
    def scales(self) -> NDArray[np.float32]:
        """The standard deviation of each column, of shape (d,), above zero."""
        return np.frombuffer(self.scale, dtype="<f4")


class Standardize(_Affine):
    """(x - mean) / scale, frozen: the survey's constants, first in the network."""

    type: Literal["standardize"] = "standardize"


class Rescale(_Affine):
    """x * scale + mean, frozen: a regression's answer in the targets' own units, last in the network."""

    type: Literal["rescale"] = "rescale"


LayerSpec = Annotated[
    Dense | ReLU | Tanh | Sigmoid | Standardize | Rescale,
    Field(discriminator="type"),
]
TrainableSpec = Annotated[Dense | ReLU | Tanh | Sigmoid, Field(discriminator="type")]
Loss = Literal["cross-entropy", "mse"]


class NetworkSpec(BaseModel):
    """A chain of layers from `inputs` features to the outputs of its last dense layer.

    With `loss="cross-entropy"` the outputs are logits, one a class; with `loss="mse"` they are the targets.
    `Standardize` may stand first and `Rescale` last, behind the loss, which is measured in standard units.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    inputs: int = Field(ge=1, le=MAX_WIDTH)
    layers: tuple[LayerSpec, ...] = Field(min_length=1, max_length=MAX_LAYERS, strict=False)
    loss: Loss

    @model_validator(mode="after")
    def _check(self) -> "NetworkSpec":
        core = self.layers
        if isinstance(core[0], Standardize):
            if len(core[0].means) != self.inputs:
                raise ValueError(f"standardize holds {len(core[0].means)} columns for {self.inputs} inputs")
            core = core[1:]
        if core and isinstance(core[-1], Rescale):
            if self.loss != "mse":
                raise ValueError("rescale only ends a regression (loss 'mse')")
            if len(core[-1].means) != self.outputs:
                raise ValueError(f"rescale holds {len(core[-1].means)} columns for {self.outputs} outputs")
            core = core[:-1]
        if not core or not isinstance(core[-1], Dense):
            raise ValueError("the last trained layer must be dense")
        if any(isinstance(layer, Standardize | Rescale) for layer in core):
            raise ValueError("standardize may only stand first, rescale only last")
        if self.schema.size > MAX_WEIGHTS:
            raise ValueError(f"{self.schema.size} weights are more than the {MAX_WEIGHTS} allowed")
        return self

    @property
    def outputs(self) -> int:
        """The width of the last dense layer."""
        return next((layer.units for layer in reversed(self.layers) if isinstance(layer, Dense)), self.inputs)

    @property
    def schema(self) -> Schema:  # type: ignore[override]  # (pydantic's own `schema` is deprecated)
        """The trained parameters: `{i}.weight` (fan-in, units) and `{i}.bias` (units,) of dense layer i."""
        parameters: list[tuple[str, tuple[int, ...]]] = []
        width = self.inputs
        for layer in self.layers:
            if isinstance(layer, Dense):
                index = len(parameters) // 2
                parameters += [(f"{index}.weight", (width, layer.units)), (f"{index}.bias", (layer.units,))]
                width = layer.units
        return Schema(tuple(parameters))
