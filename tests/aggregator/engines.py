"""Engines that run `model.onnx`, and what each computes on ordinary rows, on rows with gaps and far outside.

`python -m tests.aggregator.engines` prints the table of docs/export.md for the engines that are installed
(onnxruntime, onnx and, on x86-64, tract come with `fedge[dev]`; openvino and opencv-python-headless do not).
"""

import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from fedge.data.rules import Proposal
from fedge.export.metadata import Origin
from fedge.export.onnx_file import to_onnx
from fedge.export.parity import filled, output_scales, rows_of
from fedge.nn import Network
from fedge.nn.spec import Dense, LayerSpec, NetworkSpec, ReLU, Rescale, Sigmoid, Standardize, Tanh
from fedge.wire.messages.task import Task

Array = NDArray[np.float32]
Engine = Callable[[Array], Array]

ORIGIN = Origin("lab", generation=1, round=3, model="ab" * 32)
MEAN, SCALE = np.float32([20, -3, 400, 101_325]), np.float32([5, 0.1, 80, 700])


def onnxruntime(content: bytes) -> Engine:
    import onnxruntime as ort

    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    return lambda X: np.asarray(session.run(None, {"features": X})[0])


def reference(content: bytes) -> Engine:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(onnx.load_from_string(content))

    def run(X: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(evaluator.run(None, {"features": X})[0])  # type: ignore[index]

    return run


def openvino(content: bytes) -> Engine:
    import openvino as ov  # type: ignore[import-not-found]

    core = ov.Core()
    compiled = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda X: np.asarray(compiled(X)[0])


def opencv(content: bytes) -> Engine:
    import cv2  # type: ignore[import-not-found]

    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))

    def run(X: Array) -> Array:
        network.setInput(X)
        return np.asarray(network.forward())

    return run


def tract(content: bytes) -> Engine:
    import tract as runtime  # type: ignore[import-not-found]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(content)
        model = runtime.onnx().load(str(path)).into_model().into_runnable()
    return lambda X: np.asarray(model.run([X])[0].to_numpy())


ENGINES: Mapping[str, tuple[Callable[[bytes], Engine], str, str]] = {
    "onnxruntime": (onnxruntime, "onnxruntime", "onnxruntime"),
    "onnx.reference": (reference, "onnx", "onnx"),
    "OpenVINO": (openvino, "openvino", "openvino"),
    "OpenCV": (opencv, "cv2", "opencv-python-headless"),
    "tract": (tract, "tract", "tract"),
}
"""Each with the module that it needs and the package that this is in."""


def affine(kind: Any, mean: Array, scale: Array, **more: Any) -> Any:
    return kind(mean=mean.astype("<f4").tobytes(), scale=scale.astype("<f4").tobytes(), **more)


def task(rule: str | None, clip: float | None, regression: bool = False) -> Task:
    """A network with each kind of layer; `rule`: what is proposed for missing values."""
    layers: tuple[LayerSpec, ...] = (
        affine(Standardize, MEAN, SCALE, clip=clip),
        *(Dense(units=8), ReLU(), Dense(units=6), Tanh(), Dense(units=5), Sigmoid(), Dense(units=2)),
    )
    if regression:
        layers = (*layers, affine(Rescale, np.float32([1e4, -0.5]), np.float32([300, 1e-3])))
    network = NetworkSpec(inputs=4, layers=layers, loss="mse" if regression else "cross-entropy")
    outputs: dict[str, Any] = {"targets": ("litres", "pH")} if regression else {"classes": ("dry", "wet")}
    rules = Proposal(missing=rule) if rule is not None else None
    return Task(network=network, features=("heat", "wind", "co2", "pressure"), rules=rules, **outputs)


def weights(of: Task) -> Array:
    return np.float32(0.3) * np.random.default_rng(0).standard_normal(of.network.schema.size, np.float32)


def differences(make: Callable[[bytes], Engine], of: Task) -> list[tuple[float, int, int]]:
    """For each kind of rows what an engine computes.

    Returns:
        The largest difference from our forward pass where that gives an answer, how many of the other rows
        have an answer there, and how many there are.
    """
    w, found = weights(of), []
    run = make(to_onnx(of, w, ORIGIN))
    for rows in rows_of(of.network):
        theirs, X = run(rows.X), filled(of, rows.X)
        lacking = np.isnan(X).any(axis=1)
        ours = Network(of.network).predict(w, X[~lacking])
        scale = output_scales(of.network, ours)
        gap = np.abs(theirs[~lacking] - ours) / scale
        answered = int((~np.isnan(theirs[lacking]).any(axis=1)).sum())
        found.append((float(gap.max(initial=0.0)), answered, int(lacking.sum())))
    return found


def cell(make: Callable[[bytes], Engine], of: Task, rows: int) -> str:
    """What an engine computes on one kind of rows, for the table."""
    try:
        difference, answered, lacking = differences(make, of)[rows]
    except Exception as error:  # an engine that does not load a file has a place in the table too
        return f"not loaded: {str(error).splitlines()[0][:60]}"
    if lacking:
        return f"{answered} of {lacking} have an answer"
    return f"{difference:.1e}"


def main() -> None:
    print("| engine | ordinary rows | rows with gaps, `fill` | beyond the bound | rows with gaps, no rule |")
    print("|---|---|---|---|---|")
    filling, other = task("fill", 20.0), task(None, 20.0)
    for name, (make, module, package) in ENGINES.items():
        if find_spec(module) is not None:
            cells = (cell(make, of, rows) for of, rows in ((other, 0), (filling, 1), (other, 2), (other, 1)))
            print(f"| {name} {version(package)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
