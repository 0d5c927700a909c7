"""Compare an ONNX file with our own forward pass, by onnxruntime, before it is written.

There are three kinds of rows: ordinary ones, those with gaps, and those with an input beyond the bound that
the network clips at.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from fedge.nn import Network
from fedge.nn.probes import ROWS, Samples, probes
from fedge.nn.spec import NetworkSpec, clip_of
from fedge.wire.messages.task import Task

ort.disable_telemetry_events()  # this wheel has telemetry, and Fedge sends none

Vector = NDArray[np.float32]

FAR = 1_000.0
"""The distance of inputs that must be clipped, as a multiple of the bound."""


@dataclass(frozen=True)
class Rows:
    """Raw samples to compare on."""

    X: Samples
    """Of shape (n, d), NaN where a value is missing."""
    size: float = 1.0
    """The size of the standardized inputs, which float32's rounding errors are proportional to."""


def difference(task: Task, vector: Vector, content: bytes, samples: Samples | None = None) -> float:
    """The largest difference of an ONNX file from our forward pass, as a multiple of `output_scales`.

    Args:
        task: the task that the weights belong to.
        vector: the weights, of shape (p,).
        content: the file.
        samples: real, raw and complete samples of shape (n, d) to compare on as well.

    Returns:
        NaN if an output is not finite, or a row that must have no answer has one.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # onnxruntime would write warnings to stderr
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    network, found = Network(task.network), [0.0]
    for rows in rows_of(task.network, samples):
        (theirs,) = session.run(None, {"features": rows.X})
        X = filled(task, rows.X)
        lacking = np.isnan(X).any(axis=1)
        if not np.isnan(theirs[lacking]).any(axis=1).all():
            return math.nan
        with np.errstate(all="ignore"):  # weights that overflow show as NaN in the result
            ours = network.predict(vector, X[~lacking])
            scales = output_scales(task.network, ours) * rows.size
            found.append(float(np.max(np.abs(theirs[~lacking] - ours) / scales, initial=0.0)))
    return float(np.max(found))


def rows_of(spec: NetworkSpec, samples: Samples | None = None) -> tuple[Rows, ...]:
    """The rows to compare on: each column is missing in some row, and far away in another."""
    X = probes(spec)
    period = min(ROWS, spec.inputs)
    chosen = np.arange(spec.inputs) % period == (np.arange(ROWS) % period)[:, None]
    gaps = np.where(chosen, X.dtype.type(np.nan), X)
    gaps[-1] = np.nan
    ordinary, clip, first = Rows(probes(spec, samples)), clip_of(spec), spec.first
    if clip is None or first is None:
        return (ordinary, Rows(gaps))
    signs = np.where(np.arange(ROWS) // period % 2, -1.0, 1.0)[:, None]
    with np.errstate(over="ignore"):  # an infinite value is beyond the bound too
        far = (first.exact_means + signs * FAR * clip * first.scales).astype(X.dtype)
    return (ordinary, Rows(gaps), Rows(np.where(chosen, far, X), size=max(1.0, clip)))


def filled(task: Task, X: Samples) -> Samples:
    """Raw samples (n, d) as the network takes them under the federation's rule for missing values."""
    first = task.network.first
    if not fills(task) or first is None:
        return X
    whole = X.copy()
    np.copyto(whole, first.exact_means.astype(X.dtype), where=np.isnan(X))
    return whole


def fills(task: Task) -> bool:
    """Whether the federation's rule is to fill missing values, and there is something to fill them with."""
    return task.rules is not None and task.rules.fills and task.network.first is not None


def output_scales(spec: NetworkSpec, outputs: NDArray[Any]) -> NDArray[Any]:
    """The scale of a difference, for each output: 1 for probabilities.

    For rescaled targets it is their spread about the mean, or a twentieth of their largest value if that is
    more: adding a large mean rounds to 2⁻²⁴ of it, which 1e-5 of a twentieth is eight times of.
    """
    if spec.loss == "cross-entropy":
        return np.ones(spec.outputs)
    last, largest = spec.last, np.abs(outputs).max(axis=0, initial=0)
    if last is not None:
        spread = np.maximum(np.abs(outputs - last.means).max(axis=0, initial=0), last.scales)
        largest = np.maximum(spread, largest / 20)
    return np.where(largest == 0, 1.0, largest)
