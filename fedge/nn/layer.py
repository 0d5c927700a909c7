"""The protocols of a layer. One file defines a whole layer: spec, arithmetic, and ONNX operators.

The built-in layers are the files in `fedge/nn/layers`; read `dense.py` first. `examples/extend/conv1d.py` is
one from outside. A file has

* a spec, a `LayerSpec` with the fields that are sent in the task and set in `federation.toml`,
* a `Layer`, which computes with it for a fixed number of samples,
* `ENTRY = entry(Spec)`, by which `fedge.algorithms.registry` finds it.

Between layers a batch is a contiguous matrix of shape (n, width), one sample a row. A *shape* gives the
meaning of a row's numbers: (features,) for a table, (length, channels) after a convolution over time. A row
holds them in C order, so the width is the product of the shape. A layer that ignores the shape, like a dense
one, accepts any.

`fedge.testing.check_layer` checks what the docstrings here say.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, model_validator

from fedge.algorithms.registry import LAYERS, Entry, Options
from fedge.nn.draws import draw
from fedge.nn.operators import Operators, chain, step
from fedge.nn.schema import Shape

__all__ = [
    "Array",
    "Layer",
    "LayerSpec",
    "Operators",
    "Piece",
    "Shape",
    "Views",
    "asked",
    "chain",
    "entry",
    "kind_of",
    "kinds",
    "step",
]

Array = NDArray[Any]
Piece = tuple[slice, Array]
"""A part of a flat gradient: its slice of the vector and its values, in a buffer that the next piece
reuses."""
Views = Mapping[str, Array]
"""The parameters of one layer by name, as views of the flat vector."""


class Layer(Protocol):
    """One trained layer for a fixed number of rows n; it owns the buffers it writes into.

    So a training step allocates nothing. `forward(x)` fills and returns y. Then, given dy = ∂L/∂y,
    `backward(dy)` fills and returns dx = ∂L/∂x, and `gradients(dy)` yields the gradient of the layer's own
    weights, piece by piece. Neither x nor dy is changed, and all arrays have the network's precision.

    The chain rule for layers of neurons: Rumelhart, Hinton, Williams 1986, "Learning representations by
    back-propagating errors", Nature 323, equations 4 to 7.
    """

    y: Array
    """The output of the last `forward`, of shape (n, width of the output)."""

    def bind(self, vector: Array) -> None:
        """Compute with the weights in this flat vector, of shape (p,), from now on.

        Keep views and not copies: the weights change in place between steps.
        """

    def forward(self, x: Array) -> Array:
        """Compute y from x, of shape (n, width); x does not change until the gradients are computed.

        Each row of y depends only on the same row of x.
        """

    def backward(self, dy: Array) -> Array:
        """Compute ∂L/∂x, of the shape of x, from ∂L/∂y, of the shape of y."""

    def gradients(self, dy: Array) -> Iterable[Piece]:
        """Compute the gradient of the layer's weights.

        The pieces cover the layer's slice of the flat vector, each entry once. The weights of a piece may
        change as soon as it is yielded, so do not read them again.
        """


class LayerSpec(Options):
    """The description of one layer in a network: plain checked data, the same on all devices.

    The first field is called `type` and is the layer's name: `type: Literal["dense"] = "dense"`. A field that
    is added after a layer's first version is listed in `added` and is None by default. None is not sent, so
    older devices can take part. Each layer declares its fields itself, because their order is the order of
    the bytes on the wire.
    """

    added: ClassVar[tuple[str, ...]] = ()
    """The fields added after the layer's first version."""
    example: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """Values for the fields without defaults, which make a small layer for the checks."""
    stands: ClassVar[Literal["first", "between", "last"]] = "between"
    """`between`: a trained layer; `first`, `last`: a frozen layer (`fedge.nn.affine`)."""
    ends: ClassVar[bool] = False
    """Whether it can be the last trained layer, whose outputs are the network's."""
    rectifies: ClassVar[bool] = False
    """Whether it zeroes about half of its inputs, so that the layer before it starts with larger weights."""

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, layer: Any) -> Any:
        return asked(layer) if isinstance(layer, dict) else layer

    @classmethod
    def choices(cls) -> tuple[type[BaseModel], ...]:
        """The layers that a federation can train, for explanations of the settings."""
        return tuple(kind for kind in kinds() if kind.stands == "between")

    @classmethod
    def named(cls) -> str:
        """The name on the wire of all layers of this kind."""
        return str(cls.model_fields["type"].default)

    @classmethod
    def later(cls) -> tuple[str, ...]:
        """The names of the fields added later, as `NAME.FIELD`: a program must know those that are set."""
        return tuple(f"{cls.named()}.{field}" for field in cls.added)

    @property
    def name(self) -> str:
        """The layer's name on the wire, its `type`."""
        return str(self.__dict__["type"])

    @property
    def summary(self) -> str:
        """The layer in a few words, for people: `dense 64`."""
        return " ".join(str(value) for value in self.model_dump(exclude_none=True).values())

    @property
    def tensors(self) -> Mapping[str, Array]:
        """The fields that are arrays, by name."""
        return {}

    def output(self, inputs: Shape) -> Shape:
        """The shape of one sample after the layer, from that before it; by default the same.

        Raises:
            ValueError: the layer does not accept this shape; the text says why.
        """
        return inputs

    def parameters(self, inputs: Shape) -> tuple[tuple[str, Shape], ...]:
        """Names and shapes of the trained parameters, in their order in the flat vector."""
        return ()

    def initialize(
        self, weights: Views, inputs: Shape, following: "LayerSpec | None", rng: "np.random.Generator"
    ) -> None:
        """Write the first weights into `weights`, which are zero.

        By default `fedge.nn.draws.draw` draws each parameter with two or more dimensions, the last of which
        is that of the outputs; one-dimensional parameters stay zero.

        Args:
            weights: the layer's parameters.
            inputs: the shape of a sample before the layer.
            following: the next layer, if there is one.
            rng: the source of randomness; the draws do not depend on the precision of `weights`.
        """
        for weight in weights.values():
            if weight.ndim > 1:
                draw(weight, rng, rectified=following is not None and following.rectifies)

    def build(self, inputs: Shape, rows: int, place: slice, dtype: np.dtype[Any]) -> Layer:
        """Make the object that computes the layer, with buffers for `rows` samples.

        Args:
            inputs: the shape of a sample before the layer.
            rows: n, the number of samples in a batch.
            place: the layer's slice of the flat vector.
            dtype: the precision of all arrays.
        """
        raise NotImplementedError(f"layer {self.name!r} computes nothing")

    def operators(self, inputs: Shape) -> Operators:
        """The same function as ONNX operators; they refer to parameters by name."""
        raise NotImplementedError(f"layer {self.name!r} has no ONNX operators")

    def take_before(self, weights: Views, factor: Array, shift: Array) -> bool:
        """Change the parameters so that the output for x is the former output for x · factor + shift.

        Args:
            weights: the layer's parameters in float64.
            factor: of shape (width of the input,).
            shift: of the same shape.

        Returns:
            False if the layer cannot do that; the weights are then unchanged.
        """
        return False

    def take_behind(self, weights: Views, scale: Array, shift: Array, by: Array) -> bool:
        """Change the parameters so that the output is (y · scale + shift) / by, where y is the former output.

        As `take_before`; scale, shift and by are of shape (width of the output,).
        """
        return False


def asked(layer: dict[str, Any]) -> dict[str, Any]:
    """A layer without the fields that are None, which is their default."""
    return {name: value for name, value in layer.items() if value is not None}


def kind_of(name: str) -> type[LayerSpec] | None:
    """The layer of this name; None: this program does not have it."""
    found = LAYERS.entries().get(name)
    return None if found is None else cast("type[LayerSpec]", found.options)


def kinds() -> tuple[type[LayerSpec], ...]:
    """All layers of this program, sorted by name."""
    return tuple(kind for name in LAYERS.names() if (kind := kind_of(name)) is not None)


def entry(spec: type[LayerSpec]) -> Entry[LayerSpec]:
    """The registry entry of a layer; its name is the spec's `type`."""
    return Entry("layer", spec.named(), _itself, spec)


def _itself(spec: LayerSpec) -> LayerSpec:
    return spec
