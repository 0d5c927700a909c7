"""A network and its weights as an ONNX graph, built from each layer's own operators (`fedge.nn.operators`).

The graph takes `features` (batch, d) and gives `probabilities` or `targets` (batch, outputs), float32. No
layer is known here by its class, so a new layer needs no change in this file.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fedge.nn.operators import INPUT, Operators
from fedge.nn.spec import NetworkSpec, takes_float64

Vector = NDArray[np.float32]
Tensors = dict[str, NDArray[Any]]

PLAIN = frozenset({"missing", "filled"})
"""Outputs of the first layer whose names have no number of a layer before them: what fills a gap."""
_KINDS = {
    "float32": (TensorProto.FLOAT, "<f4"),
    "float64": (TensorProto.DOUBLE, "<f8"),
    "int64": (TensorProto.INT64, "<i8"),
}


def graph(spec: NetworkSpec, vector: Vector, name: str, fills: bool) -> Any:
    """Build the graph.

    Args:
        spec: the network.
        vector: the weights, of shape (p,).
        name: the name of the graph.
        fills: whether a missing value (NaN) is filled with its column's mean from the first layer.
    """
    tensors: Tensors = dict(spec.schema.views(vector))
    nodes: list[Any] = []
    last = "features"
    if spec.first is not None:
        operators = spec.first.operators((spec.inputs,), fills)
        names = {local: f"{spec.first.name}.{local}" for local in operators.constants}
        last = _add(nodes, tensors, operators, names, 0, last)
    for number, placed in enumerate(spec.placed, spec.first is not None):
        operators = placed.layer.operators(placed.inputs)
        names = {local: f"{placed.layer.name}.{number}.{local}" for local in operators.constants}
        names |= {local: placed.prefix + local for local, _ in placed.parameters}
        last = _add(nodes, tensors, operators, names, number, last)
    if spec.last is not None:
        operators = spec.last.operators((spec.outputs,))
        names = {local: f"{spec.last.name}.{local}" for local in operators.constants}
        last = _add(nodes, tensors, operators, names, len(spec.layers) - 1, last)
    if spec.loss == "cross-entropy":
        answer = "probabilities"
        nodes.append(helper.make_node("Softmax", [last], [answer], name=answer, axis=1))
    else:
        answer = "targets"
        nodes[-1].output[0] = answer
    kind = TensorProto.DOUBLE if takes_float64(spec) else TensorProto.FLOAT
    return helper.make_graph(
        nodes,
        name=name,
        inputs=[helper.make_tensor_value_info("features", kind, ["batch", spec.inputs])],
        outputs=[helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["batch", spec.outputs])],
        initializer=[_initializer(name, tensor) for name, tensor in _ordered(tensors).items()],
    )


def _add(
    nodes: list[Any],
    tensors: Tensors,
    operators: Operators,
    names: Mapping[str, str],
    number: int,
    last: str,
) -> str:
    """Add a layer's operators and constants, and return the name of its output.

    Args:
        nodes: is added to.
        tensors: is added to.
        operators: those of the layer.
        names: of its parameters and constants in the file, by those in the layer.
        number: of the layer in the network.
        last: the name of its input in the file.
    """
    tensors |= {names[local]: tensor for local, tensor in operators.constants.items()}
    known = {INPUT: last, **names}
    for node in operators.nodes:
        output = node.output if node.output in PLAIN else f"{number}.{node.output}"
        inputs = [known[local] for local in node.inputs]
        nodes.append(helper.make_node(node.operator, inputs, [output], name=output, **node.attributes))
        known[node.output] = last = output
    return last


def _ordered(tensors: Tensors) -> Tensors:
    """Put single numbers last, so that the files of one network have one order, clipped or not."""
    return {name: tensors[name] for name in sorted(tensors, key=lambda name: tensors[name].ndim == 0)}


def _initializer(name: str, tensor: NDArray[Any]) -> Any:
    kind, layout = _KINDS[tensor.dtype.name]
    return helper.make_tensor(name, kind, tensor.shape, tensor.astype(layout).tobytes(), raw=True)
