"""A layer's ONNX operators, evaluated by the onnx package's own reference, where it is installed."""

from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np

from fedge.nn.layer import Array
from fedge.nn.operators import INPUT, IR_VERSION, OPSET, Operators
from fedge.testing.laws import law, require

NEAR = 1e-5
"""How far float32 results may be from each other, as a share of the largest."""


def installed() -> bool:
    """Whether the package that evaluates them is installed."""
    return find_spec("onnx") is not None


def evaluate(operators: Operators, parameters: Mapping[str, Array], x: Array) -> Array:
    """Evaluate the operators on x, of shape (n, width).

    Args:
        operators: those of one layer.
        parameters: the layer's, by name, in float32.
        x: the input, in the precision that the layer takes.

    Raises:
        Exception: onnx's own, if the operators are no valid graph.
    """
    import onnx
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    *_, last = operators.nodes
    tensors = {**parameters, **operators.constants}
    kinds = {np.float32: onnx.TensorProto.FLOAT, np.float64: onnx.TensorProto.DOUBLE}
    graph = helper.make_graph(
        [
            helper.make_node(node.operator, list(node.inputs), [node.output], **node.attributes)
            for node in operators.nodes
        ],
        "layer",
        [helper.make_tensor_value_info(INPUT, kinds[x.dtype.type], [None, x.shape[1]])],
        [helper.make_tensor_value_info(last.output, onnx.TensorProto.FLOAT, [None, None])],
        [numpy_helper.from_array(np.asarray(tensor), name) for name, tensor in tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    (y,) = ReferenceEvaluator(model).run(None, {INPUT: x})
    return np.asarray(y)


def check_operators(
    operators: Operators, parameters: Mapping[str, Array], x: Array, y: Array, where: str
) -> None:
    """Check that the operators make y of x, if they can be evaluated here.

    Raises:
        BrokenLaw: `onnx`.
    """
    if not installed():
        return
    with law("onnx", f"evaluating the operators {where}"):
        theirs = evaluate(operators, parameters, x)
    fits = theirs.shape == y.shape and theirs.dtype == y.dtype
    require(fits, "onnx", f"the operators give {theirs.dtype} of shape {theirs.shape} {where}")
    apart = float(np.abs(theirs - y).max(initial=0)) / max(1.0, float(np.abs(y).max(initial=0)))
    require(apart <= NEAR, "onnx", f"the operators are off by {apart:.1e} {where}")


def near(one: Array, other: Array) -> bool:
    """Whether two arrays differ by no more than float32 rounds."""
    return one.shape == other.shape and bool(
        np.abs(one - other).max(initial=0) <= NEAR * max(1.0, float(np.abs(other).max(initial=0)))
    )
