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
    """An exported classifier, measured on real samples by onnxruntime."""

    correct: NDArray[np.bool_]
    """Which of the n samples it classifies correctly."""
    predicted: NDArray[np.int64]
    """Shape (n,): the class that it takes each for, as `scoring.by_class` wants it."""
    max_abs_diff: float
    """Largest difference of a probability from the device's own forward pass."""


def check(onnx: Path, state: Path, X: NDArray[np.float32], y: NDArray[Any]) -> Checked:
    """Compare an ONNX file with the model that a device holds.

    Args:
        onnx: the exported file of a classifier.
        state: the state folder of a device that has followed the same model.
        X: raw samples, of shape (n, d).
        y: their class indices, of shape (n,).

    Raises:
        StateError: the device holds no model, or a damaged one.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(onnx), options, providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(None, {session.get_inputs()[0].name: X})
    task, model = held.load(state / held.FILE)
    weights = CODECS[model.codec].decode(model.body, task.network.schema.size)
    ours = Network(task.network).predict(weights, X)
    predicted = probabilities.argmax(axis=1)
    return Checked(
        correct=predicted == y,
        predicted=predicted,
        max_abs_diff=float(np.abs(probabilities - ours).max()),
    )
