"""The model as files for others: safetensors, ONNX with a proof that it computes the same, and a manifest.

The ONNX file takes raw features and gives probabilities or raw targets. Where the federation's rule is to
fill, a missing value (NaN) counts as the survey's mean in it, as it does on the devices; else a row with one
has no answer, which is NaN. It is written only after onnxruntime has computed with it what our own forward
pass computes, on rows with gaps too; else it is withheld, the reason is told, and the last good one stays.
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
from numpy.typing import NDArray
from onnx import TensorProto, helper
from safetensors.numpy import save

from aggregator.aggregation.probes import Samples
from aggregator.export import parity
from aggregator.export.parity import fills
from fedge.data.disclosure import listing
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
    clip_of,
    fine_columns,
    takes_float64,
)
from fedge.storage import atomic_files
from fedge.wire.messages.task import Task

SAFETENSORS, ONNX, MANIFEST = "model.safetensors", "model.onnx", "manifest.json"

OPSET = 17
IR_VERSION = 8
"""Pinned: the defaults of the onnx package are newer than what released runtimes load."""

MAX_DIFFERENCE = 1e-5
WIDE = (
    "float32 would keep only a few different values of {columns}: inputs are standardized in float64, "
    "and rounded then"
)
FILLED = "a missing value (NaN) is filled with the mean of its column (standardize.mean)"
UNFILLED = (
    "a row with a missing value (NaN) has no answer: onnxruntime gives NaN, other engines may give anything"
)

MEAN, SCALE, REST = "standardize.mean", "standardize.scale", "standardize.rest"
LOW, HIGH = "standardize.low", "standardize.high"
ZERO = "standardize.zero"
"""What a missing value counts as that is filled behind standardizing: the mean."""

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
    samples: Samples | None = None,
    came_from: str | None = None,
    choice: Mapping[str, Any] | None = None,
) -> Exported:
    """Write `model.safetensors`, `model.onnx` and, last, `manifest.json` with their SHA-256 into `folder`.

    The ONNX file is compared with our forward pass on the probes (`aggregator.export.parity`): ordinary rows,
    rows with gaps, and where inputs are clipped, rows beyond the bound. A difference counts absolutely for
    probabilities, and for targets as a share of their scale (`parity.output_scales`). Above 1e-5 the file is
    withheld, and that of the last round in which it was good stays: the manifest says of each file which
    round's it is. A file that is no such model is removed.

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
        atomic_files.atomic_write(folder / name, content)
    atomic_files.atomic_write(
        folder / MANIFEST, _manifest(task, origin, metrics or {}, made, files, came_from, choice)
    )
    if ONNX not in files:
        atomic_files.remove(folder / ONNX)
    return made


def to_safetensors(task: Task, vector: Vector, origin: Origin) -> bytes:
    """Name the weights and the frozen layers' constants as tensors; all else is JSON in `metadata["fedge"]`.

    One metadata key and not several, because the library writes several in an order that changes.
    """
    network = {
        "inputs": task.network.inputs,
        "loss": task.network.loss,
        "layers": [
            layer.model_dump(exclude={"mean", "scale", "rest"}, exclude_none=True)
            for layer in task.network.layers
        ],
    }
    metadata = {**asdict(origin), **_columns(task), "network": network}
    content: bytes = save(_tensors(task.network, vector), {"fedge": json.dumps(metadata, ensure_ascii=False)})
    return content


def to_onnx(task: Task, vector: Vector, origin: Origin) -> bytes:
    """Build the graph: `features` (batch, d) → `probabilities` or `targets` (batch, outputs), float32.

    Where the first layer takes float64, `features` are that, and the first two operators compute in it. Gaps
    are filled behind them then, with 0, which is the mean: tract 0.23 has no `IsNaN` for float64.

    Raises:
        onnx.checker.ValidationError: the graph is not valid ONNX.
    """
    spec = task.network
    classifies = spec.loss == "cross-entropy"
    nodes: list[Any] = []
    last = "features"
    trained = 0
    layers: tuple[LayerSpec, ...] = spec.layers
    wide = takes_float64(spec)
    if wide:
        nodes, layers = _standardized(task), layers[1:]
        last = nodes[-1].output[0]
    elif fills(task):
        nodes.append(helper.make_node("IsNaN", [last], ["missing"], name="missing"))
        nodes.append(helper.make_node("Where", ["missing", MEAN, last], ["filled"], name="filled"))
        last = "filled"
    for index, layer in enumerate(layers, len(spec.layers) - len(layers)):
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
        inputs=[
            helper.make_tensor_value_info(
                "features", TensorProto.DOUBLE if wide else TensorProto.FLOAT, ["batch", spec.inputs]
            )
        ],
        outputs=[helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["batch", spec.outputs])],
        initializer=[
            _initializer(name, tensor)
            for name, tensor in (_tensors(spec, vector) | _bounds(spec) | _exact(task)).items()
            if name != REST
        ],
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="fedge",
    )
    properties = {
        **asdict(origin),
        **{key: json.dumps(names) for key, names in _columns(task).items()},
        **({"missing": FILLED} if fills(task) else {}),
        **({"input": f"float64: {_input(task)}"} if wide else {}),
    }
    helper.set_model_props(model, {key: str(value) for key, value in properties.items()})
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _make_onnx(task: Task, vector: Vector, origin: Origin, samples: Samples | None) -> Exported:
    try:
        content = to_onnx(task, vector, origin)
        difference = parity.difference(task, vector, content, samples)
    except Exception as error:  # an engine's trouble withholds a file, and never stops learning
        return Exported(None, f"{type(error).__name__}: {error}"[:500], math.nan)
    if not difference <= MAX_DIFFERENCE:
        limit = f"at most {MAX_DIFFERENCE:g} is allowed"
        return Exported(
            None, f"onnxruntime differs from our forward pass by {difference:.3g}; {limit}", difference
        )
    return Exported(content, "", difference)


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
            standardized = [("Sub", [MEAN]), ("Div", [SCALE])]
            return standardized if layer.clip is None else [*standardized, ("Clip", [LOW, HIGH])]
        case Rescale():
            return [("Mul", ["rescale.scale"]), ("Add", ["rescale.mean"])]
        case UnknownLayer():
            raise ValueError(f"no ONNX operator is known for a layer {layer.type!r}")


def _standardized(task: Task) -> list[Any]:
    """The nodes of a first layer that takes float64; what it gives is float32, without gaps if it fills."""
    layer = task.network.layers[0]
    assert isinstance(layer, Standardize)
    nodes: list[Any] = []

    def add(operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    last = add("Div", [add("Sub", ["features", MEAN], "0.sub"), SCALE], "0.div")
    last = add("Cast", [last], "0.cast", to=TensorProto.FLOAT)
    if fills(task):
        last = add("Where", [add("IsNaN", [last], "missing"), ZERO, last], "filled")
    if layer.clip is not None:
        add("Clip", [last, LOW, HIGH], "0.clip")
    return nodes


def _tensors(spec: NetworkSpec, vector: Vector) -> dict[str, NDArray[np.floating[Any]]]:
    tensors: dict[str, NDArray[np.floating[Any]]] = dict(spec.schema.views(vector))
    for layer in spec.layers:
        if isinstance(layer, Standardize | Rescale):
            tensors |= {f"{layer.type}.mean": layer.means, f"{layer.type}.scale": layer.scales}
        if isinstance(layer, Standardize) and layer.rest is not None:
            tensors[REST] = np.frombuffer(layer.rest, dtype="<f4")
    return tensors


def _exact(task: Task) -> dict[str, NDArray[np.floating[Any]]]:
    """The constants in float64 of a first layer that takes that, and what fills its gaps."""
    layer = task.network.layers[0]
    if not isinstance(layer, Standardize) or layer.rest is None:
        return {}
    zero = {ZERO: np.zeros((), np.float32)} if fills(task) else {}
    return {MEAN: layer.exact_means, SCALE: layer.scales.astype(np.float64), **zero}


def _initializer(name: str, tensor: NDArray[np.floating[Any]]) -> Any:
    wide = tensor.dtype.itemsize == 8
    kind, layout = (TensorProto.DOUBLE, "<f8") if wide else (TensorProto.FLOAT, "<f4")
    return helper.make_tensor(name, kind, tensor.shape, tensor.astype(layout).tobytes(), raw=True)


def _input(task: Task) -> str:
    """Why inputs are float64."""
    return WIDE.format(columns=listing([task.features[j] for j in fine_columns(task.network)]))


def _bounds(spec: NetworkSpec) -> dict[str, NDArray[np.floating[Any]]]:
    """The bounds of standardized inputs as scalars, if there are any."""
    clip = clip_of(spec)
    return {} if clip is None else {LOW: np.array(-clip, np.float32), HIGH: np.array(clip, np.float32)}


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
        "input": "float64" if takes_float64(task.network) else "float32",
        **({"input_why": _input(task)} if takes_float64(task.network) else {}),
        "missing": FILLED if fills(task) else UNFILLED,
        **({"clip": clip} if (clip := clip_of(task.network)) is not None else {}),
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
