"""What a network is, as plain checked data: it travels in the task and is written in `federation.toml`.

A spec holds everything but the trained weights, the constants of its frozen layers included, so spec and
flat vector together are the whole model: enough to predict, to train, and to export.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from fedge.data.moments import ROUNDING_UNITS, is_fine
from fedge.nn.schema import Schema
from fedge.wire.names import WireName, mark_unknown, tidy

MAX_WIDTH = 65_536
MAX_LAYERS = 64
MAX_WEIGHTS = 50_000_000
LEAST_CLIP, MOST_CLIP = 1.0, 1e6
"""Of the bound on standardized inputs, in standard deviations."""


class _Layer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, layer: Any) -> Any:
        return _asked(layer) if isinstance(layer, dict) else layer


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
    """(x - mean - rest) / scale within ± clip, frozen: the survey's constants, first in the network."""

    type: Literal["standardize"] = "standardize"
    clip: float | None = Field(default=None, ge=LEAST_CLIP, le=MOST_CLIP, allow_inf_nan=False)
    """In standard deviations; None: no input is clipped, as 0.2.0 does it."""
    rest: bytes | None = Field(default=None, min_length=4)
    """What float32 leaves of the means, little-endian float32: inputs are float64, subtracted and divided in
    it, for a column is too fine for float32. None: all is float32, as 0.2.0 does it."""

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


class Rescale(_Affine):
    """x * scale + mean, frozen: a regression's answer in the targets' own units, last in the network."""

    type: Literal["rescale"] = "rescale"


class UnknownLayer(BaseModel):
    """A layer of a newer program, or one with fields that this program does not know: not computed here."""

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    type: WireName

    _settled = model_validator(mode="after")(mark_unknown)


LAYERS: Mapping[str, type[_Layer]] = MappingProxyType(
    {
        "dense": Dense,
        "relu": ReLU,
        "tanh": Tanh,
        "sigmoid": Sigmoid,
        "standardize": Standardize,
        "rescale": Rescale,
    }
)
"""Every layer by its name on the wire."""
ADDED: Mapping[str, tuple[str, ...]] = MappingProxyType({"standardize": ("clip", "rest")})
"""The fields that came after 0.2.0, by layer; each is None where it asks for nothing."""
LOSSES = ("cross-entropy", "mse")


def _asked(layer: dict[str, Any]) -> dict[str, Any]:
    """A layer without the fields that ask for nothing: None is what they are where they do not stand."""
    return {name: value for name, value in layer.items() if value is not None}


def _which(layer: Any) -> str:
    """The name of a layer that this program knows with all its fields, else `unknown`."""
    name = layer.get("type") if isinstance(layer, dict) else getattr(layer, "type", None)
    if not isinstance(name, str) or (known := LAYERS.get(name)) is None:
        return "unknown"
    whole = (
        _asked(layer).keys() <= known.model_fields.keys() if isinstance(layer, dict) else type(layer) is known
    )
    return name if whole else "unknown"


LayerSpec = Annotated[
    Annotated[Dense, Tag("dense")]
    | Annotated[ReLU, Tag("relu")]
    | Annotated[Tanh, Tag("tanh")]
    | Annotated[Sigmoid, Tag("sigmoid")]
    | Annotated[Standardize, Tag("standardize")]
    | Annotated[Rescale, Tag("rescale")]
    | Annotated[UnknownLayer, Tag("unknown")],
    Discriminator(_which),
]


def names_of(layer: LayerSpec) -> tuple[str, ...]:
    """What a program must know to compute a layer: its type, and each of its fields that came later.

    Of a layer with fields that are not known here, only these.
    """
    known = LAYERS.get(layer.type)
    if not isinstance(layer, UnknownLayer):
        added = (name for name in ADDED.get(layer.type, ()) if getattr(layer, name) is not None)
        return (layer.type, *(f"{layer.type}.{name}" for name in added))
    if known is None:
        return (layer.type,)
    unknown = set(layer.model_extra or ()) - known.model_fields.keys()
    return tuple(f"{layer.type}.{name}" for name in tidy(unknown))


TrainableSpec = Annotated[Dense | ReLU | Tanh | Sigmoid, Field(discriminator="type")]


class NetworkSpec(BaseModel):
    """A chain of layers from `inputs` features to the outputs of its last dense layer.

    With `loss="cross-entropy"` the outputs are logits, one a class; with `loss="mse"` they are the targets.
    `Standardize` may stand first and `Rescale` last, behind the loss, which is measured in standard units.
    A network of a newer program may hold what this one does not know: it can be passed on, but not computed.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True)

    inputs: int = Field(ge=1, le=MAX_WIDTH)
    layers: tuple[LayerSpec, ...] = Field(min_length=1, max_length=MAX_LAYERS, strict=False)
    loss: WireName

    _settled = model_validator(mode="after")(mark_unknown)

    @property
    def unknown(self) -> tuple[str, ...]:
        """The fields that this program does not know, as names."""
        return tidy(self.model_extra or ())

    @property
    def computable(self) -> bool:
        """Whether this program knows all of it."""
        layers = not any(isinstance(layer, UnknownLayer) for layer in self.layers)
        return layers and self.loss in LOSSES and not self.model_extra

    @model_validator(mode="after")
    def _check(self) -> "NetworkSpec":
        if not self.computable:
            return self
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
        """The trained parameters: `{i}.weight` (fan-in, units) and `{i}.bias` (units,) of dense layer i.

        Raises:
            ValueError: the network holds what this program does not know.
        """
        if not self.computable:
            raise ValueError("this network holds what this version of Fedge does not know; use a newer one")
        parameters: list[tuple[str, tuple[int, ...]]] = []
        width = self.inputs
        for layer in self.layers:
            if isinstance(layer, Dense):
                index = len(parameters) // 2
                parameters += [(f"{index}.weight", (width, layer.units)), (f"{index}.bias", (layer.units,))]
                width = layer.units
        return Schema(tuple(parameters))


def clip_of(network: NetworkSpec) -> float | None:
    """The bound on standardized inputs, in standard deviations; None: they are not clipped."""
    first = network.layers[0]
    return first.clip if isinstance(first, Standardize) else None


def takes_float64(network: NetworkSpec) -> bool:
    """Whether inputs are to be handed over in float64: the first layer says so."""
    first = network.layers[0]
    return isinstance(first, Standardize) and first.rest is not None


def fine_columns(network: NetworkSpec) -> tuple[int, ...]:
    """The columns because of which inputs are float64, by number: for people.

    Not those that are constant, whose scale is 1 or 8 units of float32 (`aggregator.aggregation.survey`).
    """
    first = network.layers[0]
    if not isinstance(first, Standardize) or first.rest is None:
        return ()
    scales = first.scales.astype(np.float64)
    unit = float(np.finfo(np.float32).eps) * np.abs(first.means.astype(np.float64))
    constant = scales == np.maximum(ROUNDING_UNITS * unit, 1.0)
    return tuple(np.flatnonzero(is_fine(first.exact_means, scales) & ~constant).tolist())
