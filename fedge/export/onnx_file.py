"""A model as an ONNX file, and the check that it computes what our forward pass computes.

The file takes raw features and gives probabilities or raw targets. If the federation's rule is to fill
missing values (NaN), the file fills them with the survey's mean, as the devices do; otherwise a row with one
has no answer, and gives NaN. Metadata: onnx.proto, `ModelProto.metadata_props`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from fedge.export import parity
from fedge.export.graph import graph
from fedge.export.metadata import FILLED, Origin, columns_of, input_reason
from fedge.export.parity import fills
from fedge.nn.operators import IR_VERSION, OPSET
from fedge.nn.probes import Samples
from fedge.nn.spec import takes_float64
from fedge.wire.messages.task import Task

MAX_DIFFERENCE = 1e-5
NOTHING: Mapping[str, str] = MappingProxyType({})

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class OnnxResult:
    """The result for the ONNX file; the other files are written in any case."""

    onnx: bytes | None
    """The file's content; None: it is withheld."""
    withheld: str
    """The reason why it is withheld; else empty."""
    max_abs_diff: float
    """Largest difference from our forward pass, as `write` defines it; NaN if it could not be measured."""


def to_onnx(task: Task, vector: Vector, origin: Origin, more: Mapping[str, str] = NOTHING) -> bytes:
    """The graph (`fedge.export.graph`) with the file's metadata.

    Where the first layer takes float64, `features` are that.

    Args:
        task: the task that the weights belong to.
        vector: the weights, of shape (p,).
        origin: where the model is from.
        more: further metadata, by name.

    Raises:
        onnx.checker.ValidationError: the graph is not valid ONNX.
    """
    model = helper.make_model(
        graph(task.network, vector, origin.federation, fills(task)),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fedge",
    )
    properties = {
        **asdict(origin),
        **{key: json.dumps(names) for key, names in columns_of(task).items()},
        **({"missing": FILLED} if fills(task) else {}),
        **({"input": f"float64: {input_reason(task)}"} if takes_float64(task.network) else {}),
        **more,
    }
    helper.set_model_props(model, {key: str(value) for key, value in properties.items()})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def checked_onnx(
    task: Task,
    vector: Vector,
    origin: Origin,
    samples: Samples | None,
    more: Mapping[str, str] = NOTHING,
) -> OnnxResult:
    """Make the file and compare it with our forward pass; a difference above 1e-5 withholds it.

    The arguments are those of `to_onnx`, and real samples to compare on as well.
    """
    try:
        content = to_onnx(task, vector, origin, more)
        difference = parity.difference(task, vector, content, samples)
    except Exception as error:  # an error of an engine withholds the file, and never stops learning
        return OnnxResult(None, f"{type(error).__name__}: {error}"[:500], math.nan)
    if not difference <= MAX_DIFFERENCE:
        limit = f"at most {MAX_DIFFERENCE:g} is allowed"
        return OnnxResult(
            None, f"onnxruntime differs from our forward pass by {difference:.3g}; {limit}", difference
        )
    return OnnxResult(content, "", difference)
