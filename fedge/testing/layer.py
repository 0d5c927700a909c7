"""`check_layer`: the laws of `fedge.nn.layer`."""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fedge.algorithms.registry import Entry
from fedge.nn.affine import Affine
from fedge.nn.layer import LayerSpec
from fedge.nn.schema import Shape
from fedge.testing.frozen import check_frozen
from fedge.testing.laws import law, require
from fedge.testing.operators import installed
from fedge.testing.trained import Trial

SHAPES: tuple[Shape, ...] = (
    *((width,) for width in range(1, 13)),
    *((length, channels) for length in range(2, 9) for channels in range(1, 4)),
)
EACH = 3
"""Number of shapes that a layer is tested on, of tables and of inputs with channels."""


def check_layer(
    entry: Entry[LayerSpec],
    options: Mapping[str, Any] | None = None,
    *,
    shapes: Iterable[Shape] | None = None,
    seed: int = 0,
) -> None:
    """Check a layer against its protocol, on a few small shapes.

    The laws, by the names that `BrokenLaw.law` has:

    * `name`: the entry is of kind `layer` and has the name that is the default of `type`.
    * `fields`: the spec is the same after a way over the wire, and fields that came later may be left out.
    * `shape`: `output` names positive sides, and `forward` fills a matrix of them.
    * `parameters`: their names differ, and the pieces of the gradient cover each entry once.
    * `initial`: the first weights are finite, and the same for the same seed in float32 and float64.
    * `precision`: all arrays have the precision that was asked for.
    * `gradient`: in float64 all derivatives are the slopes that central differences measure.
    * `early`: the weights of a piece are not read again once it is out.
    * `views`: weights that are changed in place count at once.
    * `rows`: a row of the output depends on that row of the input alone.
    * `arguments`: neither x nor dy nor the weights are changed.
    * `repeated`: the same step gives the same bits, whatever another layer of the kind computes meanwhile.
    * `buffers`: a step writes into the same arrays each time, and allocates nothing.
    * `finite`: inputs of ±1,000 make no output and no derivative infinite or NaN.
    * `onnx`: the operators compute the same. It is evaluated where the package `onnx` is installed; where it
      is not, a warning says so.
    * `folding`: what `take_before` and `take_behind` change is what they promise.
    * `inverse`: of a frozen layer `invert` undoes `forward`, as far as it does not clip.

    Args:
        entry: the layer.
        options: the fields of the layer; else those of its `example`.
        shapes: of samples before the layer; else a few tables, and a few with channels, that it takes.
        seed: of the samples and the shapes.

    Raises:
        BrokenLaw: it breaks one; the text says which and how.
        ValueError: the layer takes none of the shapes, or not these options.
    """
    require(entry.kind == "layer", "name", f"the entry's kind is {entry.kind!r}, expected 'layer'")
    kind = entry.options
    require(issubclass(kind, LayerSpec), "name", f"{kind.__name__} is no LayerSpec")
    assert issubclass(kind, LayerSpec)
    require(kind.named() == entry.name, "name", f"the entry is {entry.name!r}, and its type {kind.named()!r}")
    spec = entry.made(kind.example if options is None else options)
    _check_fields(spec)
    rng = np.random.default_rng(seed)
    if not installed():
        warnings.warn(
            f"layer {spec.name!r}: its ONNX operators were not evaluated; install the package onnx for that",
            stacklevel=2,
        )
    for shape in _chosen(spec, shapes, rng):
        if isinstance(spec, Affine):
            check_frozen(spec, shape, rng)
        else:
            Trial(spec, shape, rng).check()


def _check_fields(spec: LayerSpec) -> None:
    kind = type(spec)
    for name in kind.added:
        field = kind.model_fields.get(name)
        optional = field is not None and not field.is_required() and field.default is None
        require(optional, "fields", f"{name!r} came later, so it must be a field whose default is None")
    sent = spec.model_dump(exclude_none=True)
    plain = all(isinstance(value, bool | int | float | str | bytes | list | tuple) for value in sent.values())
    require(plain, "fields", f"{sent} holds more than plain values")
    with law("fields", "reading what was written"):
        require(kind.model_validate(sent) == spec, "fields", f"{sent} is read as another layer")


def _chosen(spec: LayerSpec, shapes: Iterable[Shape] | None, rng: np.random.Generator) -> list[Shape]:
    """The shapes to try: those given, or some of `SHAPES` that the layer takes."""
    if shapes is not None:
        return list(shapes)
    accepted: dict[int, list[Shape]] = {1: [], 2: []}
    for at in rng.permutation(len(SHAPES)):
        shape = SHAPES[at]
        try:
            spec.output(shape)
        except ValueError:
            continue
        if len(accepted[len(shape)]) < EACH:
            accepted[len(shape)].append(shape)
    if not (found := [*accepted[1], *accepted[2]]):
        raise ValueError(f"layer {spec.name!r} takes no small shape: say shapes=[(…), …]")
    return found
