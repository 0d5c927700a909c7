"""The model as files for others: safetensors, ONNX with a proof that it computes the same, and a manifest.

The ONNX file takes raw features and gives probabilities or raw targets. It is written only after onnxruntime
has computed with it what our own forward pass computes; else it is withheld, the reason is told, and the last
good one stays.
Operators: https://onnx.ai/onnx/operators, opset 17. Metadata: onnx.proto, `ModelProto.metadata_props`.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import save

from aggregator.probes import probes
from fedge import store
from fedge.messages import Task
from fedge.nn import Network
from fedge.nn.spec import (
    Dense,
    LayerSpec,
    NetworkSpec,
    ReLU,
    Rescale,
    Sigmoid,
    Standardize,
    Tanh,
    UnknownLayer,
)

ort.disable_telemetry_events()  # this wheel has some; nothing here tells anybody anything

SAFETENSORS, ONNX, MANIFEST = "model.safetensors", "model.onnx", "manifest.json"

OPSET = 17
IR_VERSION = 8
"""Pinned: the defaults of the onnx package are newer than what released runtimes load."""

MAX_DIFFERENCE = 1e-5

Vector = NDArray[np.float32]
_Entry = dict[str, Any]


@dataclass(frozen=True)
class Origin:
    """Which model this is."""

    federation: str
    generation: int
    round: int
    model: str
    """The digest of the model's message, in hexadecimal."""


@dataclass(frozen=True)
class Exported:
    """What became of the ONNX file; the other files are written."""

    onnx: bytes | None
    """The file's content, or None: withheld."""
    withheld: str
    """Why it was, else empty."""
    max_abs_diff: float
    """Largest difference from our forward pass, as `write` defines it; NaN if it could not be measured."""


def write(
    folder: Path,
    task: Task,
    vector: Vector,
    origin: Origin,
    metrics: Mapping[str, float] | None = None,
    samples: NDArray[np.float32] | None = None,
    came_from: str | None = None,
    choice: Mapping[str, Any] | None = None,
) -> Exported:
    """Write `model.safetensors`, `model.onnx` and, last, `manifest.json` with their SHA-256 into `folder`.

    The ONNX file is compared with our forward pass on the probes (`aggregator.probes`). A difference counts
    absolutely for probabilities, and for targets as a share of their scale (`_output_scales`). Above 1e-5 the
    file is withheld, and that of the last round in which it was good stays: the manifest says of each file
    which round's it is. A file that is no such model is removed.

    Args:
        folder: exists; each file in it is replaced as a whole.
        task: what the weights belong to.
        vector: the weights, of shape (p,).
        origin: goes into the metadata of each file.
        metrics: for the manifest.
        samples: real, raw and complete samples of shape (n, d) to compare on as well.
        came_from: for the manifest: the older rounds that the model is of, if a generation begins with it.
        choice: for the manifest: why it is this model, and what was measured of it.

    Raises:
        StateError: the disk is full, read-only or failing; no file is left half written.
    """
    made = _make_onnx(task, vector, origin, samples)
    contents = {SAFETENSORS: to_safetensors(task, vector, origin)}
    if made.onnx is not None:
        contents[ONNX] = made.onnx
    files = {name: _entry(origin, content) for name, content in contents.items()}
    kept = _kept(folder) if made.onnx is None else None
    if kept is not None:
        files[ONNX] = kept
    for name, content in contents.items():
        store.atomic_write(folder / name, content)
    store.atomic_write(
        folder / MANIFEST, _manifest(task, origin, metrics or {}, made, files, came_from, choice)
    )
    if ONNX not in files:
        store.remove(folder / ONNX)
    return made


def to_safetensors(task: Task, vector: Vector, origin: Origin) -> bytes:
    """Name the weights and the frozen layers' constants as tensors; all else is JSON in `metadata["fedge"]`.

    One metadata key and not several, because the library writes several in an order that changes.
    """
    network = {
        "inputs": task.network.inputs,
        "loss": task.network.loss,
        "layers": [layer.model_dump(exclude={"mean", "scale"}) for layer in task.network.layers],
    }
    metadata = {**asdict(origin), **_columns(task), "network": network}
    content: bytes = save(_tensors(task.network, vector), {"fedge": json.dumps(metadata, ensure_ascii=False)})
    return content


def to_onnx(task: Task, vector: Vector, origin: Origin) -> bytes:
    """Build the graph: `features` (batch, d) float32 → `probabilities` or `targets` (batch, outputs).

    Raises:
        onnx.checker.ValidationError: the graph is not valid ONNX.
    """
    spec = task.network
    classifies = spec.loss == "cross-entropy"
    nodes: list[Any] = []
    last = "features"
    trained = 0
    for index, layer in enumerate(spec.layers):
        for operator, constants in _operators(layer, trained):
            output = f"{index}.{operator.lower()}"
            nodes.append(helper.make_node(operator, [last, *constants], [output], name=output))
            last = output
        trained += isinstance(layer, Dense)
    answer = "probabilities" if classifies else "targets"
    if classifies:
        nodes.append(helper.make_node("Softmax", [last], [answer], name=answer, axis=1))
    else:
        nodes[-1].output[0] = answer
    graph = helper.make_graph(
        nodes,
        name=origin.federation,
        inputs=[helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", spec.inputs])],
        outputs=[helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["batch", spec.outputs])],
        initializer=[
            helper.make_tensor(
                name, TensorProto.FLOAT, tensor.shape, tensor.astype("<f4").tobytes(), raw=True
            )
            for name, tensor in _tensors(spec, vector).items()
        ],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fedge",
    )
    properties = {**asdict(origin), **{key: json.dumps(names) for key, names in _columns(task).items()}}
    helper.set_model_props(model, {key: str(value) for key, value in properties.items()})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _make_onnx(task: Task, vector: Vector, origin: Origin, samples: NDArray[np.float32] | None) -> Exported:
    try:
        content = to_onnx(task, vector, origin)
        difference = _difference(task.network, vector, content, probes(task.network, samples))
    except Exception as error:  # an engine's trouble withholds a file, and never stops learning
        return Exported(None, f"{type(error).__name__}: {error}"[:500], math.nan)
    if not difference <= MAX_DIFFERENCE:
        limit = f"at most {MAX_DIFFERENCE:g} is allowed"
        return Exported(
            None, f"onnxruntime differs from our forward pass by {difference:.3g}; {limit}", difference
        )
    return Exported(content, "", difference)


def _difference(spec: NetworkSpec, vector: Vector, content: bytes, X: NDArray[np.float32]) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # its warnings on stderr are no words of ours
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"features": X})
    with np.errstate(all="ignore"):  # weights that overflow show as NaN in the result
        ours = Network(spec).predict(vector, X)
        return float(np.max(np.abs(theirs - ours) / _output_scales(spec, ours)))


def _output_scales(spec: NetworkSpec, outputs: NDArray[Any]) -> NDArray[Any]:
    """What a difference counts as a share of, for each output: 1 for probabilities.

    For rescaled targets it is their spread about the mean, or a twentieth of their largest value if that is
    more: adding a large mean rounds to 2⁻²⁴ of it, which 1e-5 of a twentieth is eight times of.
    """
    if spec.loss == "cross-entropy":
        return np.ones(spec.outputs)
    last, largest = spec.layers[-1], np.abs(outputs).max(axis=0)
    if isinstance(last, Rescale):
        spread = np.maximum(np.abs(outputs - last.means).max(axis=0), last.scales)
        largest = np.maximum(spread, largest / 20)
    return np.where(largest == 0, 1.0, largest)


def _operators(layer: LayerSpec, dense: int) -> list[tuple[str, list[str]]]:
    """The ONNX operators of a layer with the names of their constants; it is the dense-th dense one."""
    match layer:
        case Dense():
            return [("Gemm", [f"{dense}.weight", f"{dense}.bias"])]
        case ReLU():
            return [("Relu", [])]
        case Tanh():
            return [("Tanh", [])]
        case Sigmoid():
            return [("Sigmoid", [])]
        case Standardize():
            return [("Sub", ["standardize.mean"]), ("Div", ["standardize.scale"])]
        case Rescale():
            return [("Mul", ["rescale.scale"]), ("Add", ["rescale.mean"])]
        case UnknownLayer():
            raise ValueError(f"no ONNX operator is known for a layer {layer.type!r}")


def _tensors(spec: NetworkSpec, vector: Vector) -> dict[str, NDArray[np.float32]]:
    tensors = spec.schema.views(vector)
    for layer in spec.layers:
        if isinstance(layer, Standardize | Rescale):
            tensors |= {f"{layer.type}.mean": layer.means, f"{layer.type}.scale": layer.scales}
    return tensors


def _columns(task: Task) -> dict[str, tuple[str, ...]]:
    named = {"features": task.features, "classes": task.classes, "targets": task.targets}
    return {key: names for key, names in named.items() if names is not None}


def _manifest(
    task: Task,
    origin: Origin,
    metrics: Mapping[str, float],
    made: Exported,
    files: Mapping[str, _Entry],
    came_from: str | None,
    choice: Mapping[str, Any] | None = None,
) -> bytes:
    manifest = {
        **asdict(origin),
        **({"from": came_from} if came_from is not None else {}),
        **_columns(task),
        **(choice or {}),
        "metrics": {name: _number(value) for name, value in metrics.items()},
        "onnx_max_abs_diff": _number(made.max_abs_diff),
        **({"withheld": {ONNX: made.withheld}} if made.withheld else {}),
        "files": files,
    }
    return (json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _entry(origin: Origin, content: bytes) -> _Entry:
    """What the manifest says of a file: which round's it is, and its digest."""
    return {
        "generation": origin.generation,
        "round": origin.round,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }


def _kept(folder: Path) -> _Entry | None:
    """The ONNX file that lies there, by what it says of itself; None: there is none that says so."""
    try:
        content = (folder / ONNX).read_bytes()
        model = onnx.load_model_from_string(content)
        said = {each.key: each.value for each in model.metadata_props}
        origin = Origin(said["federation"], int(said["generation"]), int(said["round"]), said["model"])
        return _entry(origin, content)
    except Exception:  # whatever lies there, it is no model of ours
        return None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON knows no NaN
