"""ONNX operators of a layer as plain data, from which `aggregator.export` makes the file.

Operators and their attributes: https://onnx.ai/onnx/operators, opset 17.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from numpy.typing import NDArray

OPSET = 17
IR_VERSION = 8
"""Pinned: the defaults of the onnx package are newer than what released runtimes load."""
FLOAT = 1
"""float32 in onnx.proto (`TensorProto.DataType`), the argument of `Cast`."""
INPUT = "x"
"""The name of the layer's input in its operators."""

Attribute = int | float | str | tuple[int, ...] | tuple[float, ...]


@dataclass(frozen=True)
class Node:
    """One operator."""

    operator: str
    """The ONNX name: `Gemm`."""
    inputs: tuple[str, ...]
    """`INPUT`, or the name of a parameter or a constant of the layer, or of an earlier node's output."""
    output: str
    """The name of the output within the layer."""
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True)
class Operators:
    """The operators of one layer, in order: the output of the last one is the layer's.

    Input and output are matrices of float32, of shape (batch, width), as they are in `fedge.nn.layer.Layer`;
    an operator that needs another shape gets a `Reshape` before and after it. Names are local to the layer;
    the export makes them unique in the file.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """The constants that the nodes use: float32, float64 or int64."""


def step(operator: str, *others: str, **attributes: Attribute) -> Node:
    """One operator of a `chain`: its first input is the output of the step before.

    Args:
        operator: its name in ONNX.
        others: further inputs: names of parameters and constants of the layer.
        attributes: the operator's attributes.
    """
    return Node(operator, (INPUT, *others), operator.lower(), attributes)


def chain(*steps: Node, **constants: NDArray[Any]) -> Operators:
    """Operators one after another; the first takes the layer's input.

    >>> [(node.inputs, node.output) for node in chain(step("Mul", "scale"), step("Add", "mean")).nodes]
    [(('x', 'scale'), 'mul'), (('mul', 'mean'), 'add')]
    """
    nodes: list[Node] = []
    last = INPUT
    for number, each in enumerate(steps):
        taken = any(node.output == each.output for node in nodes)
        output = f"{each.output}{number}" if taken else each.output
        nodes.append(replace(each, inputs=(last, *each.inputs[1:]), output=output))
        last = output
    return Operators(tuple(nodes), constants)
