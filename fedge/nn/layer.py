"""What a layer is. One file holds all of it: its spec, its arithmetic, and its operators for ONNX.

The built-in layers are the files in `fedge/nn/layers`; `dense.py` is a good one to begin with, and
`examples/extend/conv1d.py` is one that was added from outside. A file has

* a spec, a `LayerSpec` with the fields that travel in the task and stand in `federation.toml`,
* a `Layer`, which computes with it for a fixed number of samples,
* `ENTRY = entry(Spec)`, by which `fedge.algorithms.registry` finds it.

Between layers a batch is a matrix of shape (n, width), one sample a row, contiguous. What the numbers of a
row mean is the layer's *shape*: (features,) for a table, (length, channels) behind a convolution over time.
A row holds them in C order, so the width is the product of the shape, and a layer that does not care for the
shape, as a dense one, takes any.

`fedge.testing.check_layer` checks what each docstring here says.
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
"""A part of a flat gradient: its place in the vector and its values, in a buffer that the next one reuses."""
Views = Mapping[str, Array]
"""The parameters of one layer by their names in it, as views of the flat vector."""


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

        They are changed in place between steps: views are kept, and not copies.
        """

    def forward(self, x: Array) -> Array:
        """Compute y from x, of shape (n, width), which does not change until the gradients are taken.

        A row of y depends on the same row of x alone.
        """

    def backward(self, dy: Array) -> Array:
        """Compute ∂L/∂x, of the shape of x, from ∂L/∂y, of the shape of y."""

    def gradients(self, dy: Array) -> Iterable[Piece]:
        """Compute the gradient of the layer's weights.

        The pieces cover the layer's place in the flat vector, each entry once. The weights of a piece may
        change as soon as it is out, so they are not read again.
        """


class LayerSpec(Options):
    """What a network's description says of one layer: plain checked data, the same on all devices.

    The first field is called `type` and is the layer's name: `type: Literal["dense"] = "dense"`. A field that
    is added after a layer's first version stands in `added` and is None where it asks for nothing: it is not
    sent then, so older devices can take part. It is declared by each layer, for the order of the fields is
    the order of the bytes on the wire.
    """

    added: ClassVar[tuple[str, ...]] = ()
    """The fields that came after the layer's first version."""
    example: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """The fields of a small one, as far as they have no defaults: what it is checked with."""
    stands: ClassVar[Literal["first", "between", "last"]] = "between"
    """`between`: it is trained. `first` and `last`: a frozen layer (`fedge.nn.affine`)."""
    ends: ClassVar[bool] = False
    """Whether it can be the last trained layer, whose outputs are the network's."""
    rectifies: ClassVar[bool] = False
    """Whether it zeroes about half of its inputs, so that the layer before it begins with larger weights."""

    @model_validator(mode="before")
    @classmethod
    def _settle(cls, layer: Any) -> Any:
        return asked(layer) if isinstance(layer, dict) else layer

    @classmethod
    def choices(cls) -> tuple[type[BaseModel], ...]:
        """The layers that a federation can be told to train, for whoever explains its settings."""
        return tuple(kind for kind in kinds() if kind.stands == "between")

    @classmethod
    def named(cls) -> str:
        """The name on the wire of all layers of this kind."""
        return str(cls.model_fields["type"].default)

    @classmethod
    def later(cls) -> tuple[str, ...]:
        """What a program must know besides, for the fields that came later, as `NAME.FIELD`."""
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
        """The shape of one sample behind the layer, from that before it; as it is, unless said otherwise.

        Raises:
            ValueError: the layer cannot take such samples; the text says why.
        """
        return inputs

    def parameters(self, inputs: Shape) -> tuple[tuple[str, Shape], ...]:
        """Names and shapes of what is trained, in the order in which they lie in the flat vector."""
        return ()

    def initialize(
        self, weights: Views, inputs: Shape, following: "LayerSpec | None", rng: "np.random.Generator"
    ) -> None:
        """Write the weights that learning starts from into `weights`, which are zero.

        Unless said otherwise a parameter of two or more sides, the last of them that of the outputs, is drawn
        by `fedge.nn.draws.draw`, and one of a single side stays zero.

        Args:
            weights: the layer's parameters.
            inputs: the shape of a sample before the layer.
            following: the layer behind this one, if there is one.
            rng: for all that is random; what is drawn does not depend on the precision of `weights`.
        """
        for weight in weights.values():
            if weight.ndim > 1:
                draw(weight, rng, rectified=following is not None and following.rectifies)

    def build(self, inputs: Shape, rows: int, place: slice, dtype: np.dtype[Any]) -> Layer:
        """Make what computes the layer, with buffers for `rows` samples.

        Args:
            inputs: the shape of a sample before the layer.
            rows: n, how many samples a batch has.
            place: where the layer's parameters lie in the flat vector.
            dtype: the precision of all arrays.
        """
        raise NotImplementedError(f"layer {self.name!r} computes nothing")

    def operators(self, inputs: Shape) -> Operators:
        """The same function in ONNX's operators; parameters are called by their names."""
        raise NotImplementedError(f"layer {self.name!r} has no ONNX operators")

    def take_before(self, weights: Views, factor: Array, shift: Array) -> bool:
        """Change the parameters so that the output for x is what it was for x · factor + shift.

        Args:
            weights: the layer's parameters in float64.
            factor: of shape (width of the input,).
            shift: likewise.

        Returns:
            False, if the layer cannot take up such a change; the weights are as they were then.
        """
        return False

    def take_behind(self, weights: Views, scale: Array, shift: Array, by: Array) -> bool:
        """Change the parameters so that the output is (y · scale + shift) / by where it was y.

        As `take_before`; scale, shift and by are of shape (width of the output,).
        """
        return False


def asked(layer: dict[str, Any]) -> dict[str, Any]:
    """A layer without the fields that ask for nothing: None is what they are where they do not stand."""
    return {name: value for name, value in layer.items() if value is not None}


def kind_of(name: str) -> type[LayerSpec] | None:
    """The layer of this name; None: this program has none."""
    found = LAYERS.entries().get(name)
    return None if found is None else cast("type[LayerSpec]", found.options)


def kinds() -> tuple[type[LayerSpec], ...]:
    """All layers that this program has, in the order of their names."""
    return tuple(kind for name in LAYERS.names() if (kind := kind_of(name)) is not None)


def entry(spec: type[LayerSpec]) -> Entry[LayerSpec]:
    """The entry of a layer in the registry, by the name that is its spec's `type`."""
    return Entry("layer", spec.named(), _itself, spec)


def _itself(spec: LayerSpec) -> LayerSpec:
    return spec
