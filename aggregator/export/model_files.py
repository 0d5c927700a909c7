"""The model as files for others: safetensors, ONNX with a proof that it computes the same, and a manifest.

The ONNX file takes raw features and gives probabilities or raw targets. Where the federation's rule is to
fill, a missing value (NaN) counts as the survey's mean in it, as it does on the devices; else a row with one
has no answer, which is NaN. It is written only after onnxruntime has computed with it what our own forward
pass computes, on rows with gaps too; else it is withheld, the reason is told, and the last good one stays.
Metadata: onnx.proto, `ModelProto.metadata_props`.
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
from onnx import helper
from safetensors.numpy import save

from aggregator.aggregation.probes import Samples
from aggregator.export import parity
from aggregator.export.graph import graph
from aggregator.export.parity import fills
from fedge.data.disclosure import listing
from fedge.nn.operators import IR_VERSION, OPSET
from fedge.nn.spec import NetworkSpec, clip_of, fine_columns, takes_float64
from fedge.storage import atomic_files
from fedge.wire.messages.task import Task

SAFETENSORS, ONNX, MANIFEST = "model.safetensors", "model.onnx", "manifest.json"

MAX_DIFFERENCE = 1e-5
WIDE = (
    "float32 would keep only a few different values of {columns}: inputs are standardized in float64, "
    "and rounded then"
)
FILLED = "a missing value (NaN) is filled with the mean of its column (standardize.mean)"
UNFILLED = (
    "a row with a missing value (NaN) has no answer: onnxruntime gives NaN, other engines may give anything"
)

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
            layer.model_dump(exclude=set(layer.tensors), exclude_none=True) for layer in task.network.layers
        ],
    }
    metadata = {**asdict(origin), **_columns(task), "network": network}
    content: bytes = save(_tensors(task.network, vector), {"fedge": json.dumps(metadata, ensure_ascii=False)})
    return content


def to_onnx(task: Task, vector: Vector, origin: Origin) -> bytes:
    """The graph (`aggregator.export.graph`) with what the file says of itself.

    Where the first layer takes float64, `features` are that.

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
        **{key: json.dumps(names) for key, names in _columns(task).items()},
        **({"missing": FILLED} if fills(task) else {}),
        **({"input": f"float64: {_input(task)}"} if takes_float64(task.network) else {}),
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


def _tensors(spec: NetworkSpec, vector: Vector) -> dict[str, NDArray[np.floating[Any]]]:
    tensors: dict[str, NDArray[np.floating[Any]]] = dict(spec.schema.views(vector))
    for layer in spec.layers:
        tensors |= {f"{layer.name}.{name}": tensor for name, tensor in layer.tensors.items()}
    return tensors


def _input(task: Task) -> str:
    """Why inputs are float64."""
    return WIDE.format(columns=listing([task.features[j] for j in fine_columns(task.network)]))


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
