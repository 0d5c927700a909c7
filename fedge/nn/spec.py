"""What a network is, as plain checked data: it travels in the task and is written in `federation.toml`.

A spec holds everything but the trained weights, the constants of its frozen layers included, so spec and
flat vector together are the whole model: enough to predict, to train, and to export.

What a layer is stands in its own file (`fedge.nn.layer`); here they are put together.
"""

from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, get_args

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from pydantic_core.core_schema import ErrorType

from fedge.data.moments import ROUNDING_UNITS, is_fine
from fedge.nn.affine import Affine
from fedge.nn.layer import Array, LayerSpec, asked, kind_of, kinds
from fedge.nn.layers.dense import MAX_UNITS, Dense
from fedge.nn.layers.relu import ReLU
from fedge.nn.layers.rescale import Rescale
from fedge.nn.layers.sigmoid import Sigmoid
from fedge.nn.layers.standardize import LEAST_CLIP, MOST_CLIP, Standardize
from fedge.nn.layers.tanh import Tanh
from fedge.nn.schema import Schema, Shape
from fedge.wire.names import WireName, mark_unknown, tidy

__all__ = [
    "LEAST_CLIP",
    "LOSSES",
    "MAX_LAYERS",
    "MAX_ROW",
    "MAX_WEIGHTS",
    "MAX_WIDTH",
    "MOST_CLIP",
    "Dense",
    "LayerSpec",
    "NetworkSpec",
    "Placed",
    "ReLU",
    "Rescale",
    "Sigmoid",
    "Standardize",
    "Tanh",
    "TrainableSpec",
    "UnknownLayer",
    "clip_of",
    "fine_columns",
    "names_of",
    "takes_float64",
]

MAX_WIDTH = MAX_UNITS
"""Inputs, outputs, units of one layer."""
MAX_ROW = 2**20
"""Numbers of one sample between two layers."""
MAX_LAYERS = 64
MAX_WEIGHTS = 50_000_000
LOSSES = ("cross-entropy", "mse")
_ERRORS = frozenset(get_args(ErrorType))


class UnknownLayer(LayerSpec):
    """A layer of a newer program, or one with fields that this program does not know: not computed here."""

    model_config = ConfigDict(extra="allow")

    type: WireName

    _unknown = model_validator(mode="after")(mark_unknown)


def _read(layer: Any) -> Any:
    """A layer of a network by its name; `UnknownLayer` unless it is known with all its fields."""
    name = layer.get("type") if isinstance(layer, dict) else getattr(layer, "type", None)
    kind = kind_of(name) if isinstance(name, str) else None
    if isinstance(layer, dict):
        whole = kind is not None and asked(layer).keys() <= kind.model_fields.keys()
        return (
            _validated(kind, kind.named(), layer)
            if kind and whole
            else _validated(UnknownLayer, "unknown", layer)
        )
    return layer if type(layer) is kind else _validated(UnknownLayer, "unknown", layer)


def _read_trained(layer: Any) -> Any:
    """A layer that a federation is told to train; all of it must be known."""
    name = layer.get("type") if isinstance(layer, dict) else getattr(layer, "type", None)
    kind = kind_of(name) if isinstance(name, str) else None
    if kind is not None and kind.stands == "between":
        return layer if type(layer) is kind else _validated(kind, kind.named(), layer)
    if not isinstance(layer, dict):
        return layer  # pydantic says what it should be
    context = {"discriminator": "'type'"}
    if "type" in layer:
        accepted = ", ".join(repr(kind.named()) for kind in kinds() if kind.stands == "between")
        context |= {"tag": str(name)[:100], "expected_tags": accepted}
    what = "union_tag_invalid" if "type" in layer else "union_tag_not_found"
    raise ValidationError.from_exception_data(
        "layer", [InitErrorDetails(type=what, loc=(), input=layer, ctx=context)]
    )


def _validated(kind: type[LayerSpec], tag: str, layer: Any) -> LayerSpec:
    """Read a layer of this kind; the place of an error begins with its tag."""
    try:
        return kind.model_validate(layer)
    except ValidationError as error:
        lines = [_below(tag, line) for line in error.errors(include_url=False)]
        raise ValidationError.from_exception_data(tag, lines) from None


def _below(tag: str, line: ErrorDetails) -> InitErrorDetails:
    kind: str | PydanticCustomError = line["type"]
    if kind not in _ERRORS:  # one of the layer's own
        kind = PydanticCustomError(line["type"], line["msg"])
    return InitErrorDetails(type=kind, loc=(tag, *line["loc"]), input=line["input"], ctx=line.get("ctx", {}))


def names_of(layer: LayerSpec) -> tuple[str, ...]:
    """What a program must know to compute a layer: its type, and each of its fields that came later.

    Of a layer with fields that are not known here, only these.
    """
    if not isinstance(layer, UnknownLayer):
        given = (name for name in layer.added if getattr(layer, name) is not None)
        return (layer.name, *(f"{layer.name}.{name}" for name in given))
    kind = kind_of(layer.type)
    if kind is None:
        return (layer.type,)
    unknown = set(layer.model_extra or ()) - kind.model_fields.keys()
    return tuple(f"{layer.type}.{name}" for name in tidy(unknown))


AnyLayer = Annotated[SerializeAsAny[LayerSpec], BeforeValidator(_read)]
"""A layer of the registry, or one that is not known."""
TrainableSpec = Annotated[SerializeAsAny[LayerSpec], BeforeValidator(_read_trained)]
"""A layer of the registry that is trained."""


@dataclass(frozen=True)
class Placed:
    """A trained layer in its network."""

    layer: LayerSpec
    inputs: Shape
    """The shape of a sample before it."""
    outputs: Shape
    """And behind it."""
    parameters: tuple[tuple[str, Shape], ...]
    """By their names in the layer."""
    prefix: str
    """What stands before these names in the network's schema: `0.`, `1.`, … by layer that has parameters."""
    place: slice
    """Where they lie in the flat vector."""

    def views(self, vector: Array) -> dict[str, Array]:
        """The layer's parameters in a flat vector of shape (p,), by their names in the layer: no copies."""
        return Schema(self.parameters).views(vector[self.place])


class NetworkSpec(BaseModel):
    """A chain of layers from `inputs` features to the outputs of its last trained layer.

    With `loss="cross-entropy"` the outputs are logits, one a class; with `loss="mse"` they are the targets.
    `Standardize` may stand first and `Rescale` last, behind the loss, which is measured in standard units.
    A network of a newer program may hold what this one does not know: it can be passed on, but not computed.
    """

    model_config = ConfigDict(frozen=True, extra="allow", strict=True, defer_build=True)

    inputs: int = Field(ge=1, le=MAX_WIDTH)
    layers: tuple[AnyLayer, ...] = Field(min_length=1, max_length=MAX_LAYERS, strict=False)
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
        first, last, core = self.first, self.last, self.core
        if not core or not core[-1].ends:
            able = (kind.named() for kind in kinds() if kind.ends)
            raise ValueError(f"the last trained layer must be {' or '.join(able)}")
        for layer in core:
            if layer.stands != "between":
                raise ValueError(f"{layer.name} may only stand {layer.stands}")
        placed = self.placed
        if first is not None and len(first.means) != self.inputs:
            raise ValueError(f"{first.name} holds {len(first.means)} columns for {self.inputs} inputs")
        if last is not None:
            outputs = prod(placed[-1].outputs)
            if self.loss != "mse":
                raise ValueError(f"{last.name} only ends a regression (loss 'mse')")
            if len(last.means) != outputs:
                raise ValueError(f"{last.name} holds {len(last.means)} columns for {outputs} outputs")
        weights = placed[-1].place.stop
        if weights > MAX_WEIGHTS:
            raise ValueError(f"{weights} weights are more than the {MAX_WEIGHTS} allowed")
        if weights == 0:
            raise ValueError("no layer of the network has weights: there is nothing to learn")
        return self

    @property
    def first(self) -> Affine | None:
        """The frozen layer before all trained ones."""
        layer = self.layers[0]
        return layer if isinstance(layer, Affine) and layer.stands == "first" else None

    @property
    def last(self) -> Affine | None:
        """The frozen layer behind all trained ones."""
        layer = self.layers[-1]
        return layer if isinstance(layer, Affine) and layer.stands == "last" else None

    @property
    def core(self) -> tuple[LayerSpec, ...]:
        """The layers between these."""
        return self.layers[self.first is not None : len(self.layers) - (self.last is not None)]

    @property
    def placed(self) -> tuple[Placed, ...]:
        """The trained layers in order, each with its shapes and its place in the flat vector.

        Raises:
            ValueError: the network holds what this program does not know, or its layers do not fit together.
        """
        if not self.computable:
            raise ValueError("this network holds what this version of Fedge does not know; use a newer one")
        placed: list[Placed] = []
        shape: Shape = (self.inputs,)
        start = index = 0
        for number, layer in enumerate(self.core, self.first is not None):
            try:
                outputs, parameters = layer.output(shape), layer.parameters(shape)
                size = Schema(parameters).size
            except Exception as error:  # whatever one from outside raises: the fields come from the network
                told = str(error) if isinstance(error, ValueError) else repr(error)
                raise ValueError(f"layer {number}, {layer.name}: {told}") from error
            if not 1 <= prod(outputs) <= MAX_ROW:
                raise ValueError(
                    f"layer {number}, {layer.name}: {prod(outputs)} numbers of a sample are not within "
                    f"1 to {MAX_ROW}"
                )
            placed.append(Placed(layer, shape, outputs, parameters, f"{index}.", slice(start, start + size)))
            shape, start, index = outputs, start + size, index + bool(parameters)
        return tuple(placed)

    @property
    def outputs(self) -> int:
        """How many numbers the last trained layer gives.

        Raises:
            ValueError: as `placed`.
        """
        return prod(self.placed[-1].outputs)

    @property
    def schema(self) -> Schema:  # type: ignore[override]  # (pydantic's own `schema` is deprecated)
        """The trained parameters: `{i}.weight` (fan-in, units) and `{i}.bias` (units,) of dense layer i.

        i counts the layers that have parameters.

        Raises:
            ValueError: as `placed`.
        """
        return Schema(
            tuple((each.prefix + name, shape) for each in self.placed for name, shape in each.parameters)
        )


def clip_of(network: NetworkSpec) -> float | None:
    """The bound on standardized inputs, in standard deviations; None: they are not clipped."""
    return None if network.first is None else network.first.bound


def takes_float64(network: NetworkSpec) -> bool:
    """Whether inputs are to be handed over in float64: the first layer says so."""
    return network.first is not None and network.first.takes_float64


def fine_columns(network: NetworkSpec) -> tuple[int, ...]:
    """The columns because of which inputs are float64, by number: for people.

    Not those that are constant, whose scale is 1 or 8 units of float32 (`aggregator.aggregation.survey`).
    """
    first = network.first
    if first is None or not first.takes_float64:
        return ()
    scales = first.scales.astype(np.float64)
    unit = float(np.finfo(np.float32).eps) * np.abs(first.means.astype(np.float64))
    constant = scales == np.maximum(ROUNDING_UNITS * unit, 1.0)
    return tuple(np.flatnonzero(is_fine(first.exact_means, scales) & ~constant).tolist())
