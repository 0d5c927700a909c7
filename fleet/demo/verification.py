"""Check that the ONNX file gives the same answers as the devices' own models."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from agent.shell import model_file
from fedge.algorithms.codecs.seeds import ANNOUNCED
from fedge.algorithms.registry import CODECS
from fedge.nn import Network

Inputs = NDArray[np.float32] | NDArray[np.float64]


def dtype_of(session: Any) -> type[np.floating[Any]]:
    """The type of a model's input: float64 if it declares that, else float32."""
    return np.float64 if session.get_inputs()[0].type == "tensor(double)" else np.float32


def check(onnx: Path, state: Path, X: Inputs) -> float:
    """Compare an ONNX file with the model that a device holds.

    Args:
        onnx: the exported file.
        state: the state folder of a device with the same model.
        X: raw samples, of shape (n, d), n ≥ 1.

    Returns:
        The largest difference from the device's own forward pass: of a probability, or of a target divided by
        the largest target (by at least 1).

    Raises:
        StateError: the device holds no model, or a damaged one.
    """
    outputs = answers(onnx, X)
    task, model = model_file.load(state / model_file.FILE)
    weights = CODECS.make(model.codec).decode(model.body, task.network.schema.size, ANNOUNCED)
    ours = Network(task.network).predict(weights, X)
    scale = max(1.0, float(np.abs(ours).max()))
    return float(np.abs(outputs - ours).max()) / scale


def answers(onnx: Path, X: Inputs) -> NDArray[Any]:
    """onnxruntime's outputs of shape (n, k) for raw samples X of shape (n, d).

    The samples are passed in the type that the file declares.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    asked = session.get_inputs()[0]
    (outputs,) = session.run(None, {asked.name: X.astype(dtype_of(session), copy=False)})
    return np.asarray(outputs).reshape(len(X), -1)
