"""Does the ONNX file do what the devices' own models do?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from agent import held
from fedge.codecs import CODECS
from fedge.nn import Network


@dataclass(frozen=True)
class Checked:
    """An exported model, measured on real samples by onnxruntime."""

    outputs: NDArray[Any]
    """Of shape (n, k): the classes' probabilities, or the targets in their own units."""
    max_abs_diff: float
    """Largest difference from the device's own forward pass: of a probability, or of a target in units of
    the largest one (never of less than 1)."""


def check(onnx: Path, state: Path, X: NDArray[np.float32]) -> Checked:
    """Compare an ONNX file with the model that a device holds.

    Args:
        onnx: the exported file.
        state: the state folder of a device that has followed the same model.
        X: raw samples, of shape (n, d), n ≥ 1.

    Raises:
        StateError: the device holds no model, or a damaged one.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(None, {session.get_inputs()[0].name: X})
    task, model = held.load(state / held.FILE)
    weights = CODECS[model.codec].decode(model.body, task.network.schema.size)
    ours = Network(task.network).predict(weights, X)
    outputs = np.asarray(outputs).reshape(ours.shape)
    scale = max(1.0, float(np.abs(ours).max()))
    return Checked(outputs=outputs, max_abs_diff=float(np.abs(outputs - ours).max()) / scale)
