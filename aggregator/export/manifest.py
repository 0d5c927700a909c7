"""The manifest of a model's files, as JSON: which model it is, why it was chosen, and each file's SHA-256."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx

from fedge.export.metadata import FILLED, UNFILLED, Origin, columns_of, input_reason
from fedge.export.onnx_file import OnnxResult
from fedge.export.parity import fills
from fedge.nn.spec import clip_of, takes_float64
from fedge.wire.messages.task import Task

SAFETENSORS, ONNX, MANIFEST = "model.safetensors", "model.onnx", "manifest.json"

Entry = dict[str, Any]
"""The manifest's entry on a file."""


def manifest_of(
    task: Task,
    origin: Origin,
    metrics: Mapping[str, float],
    made: OnnxResult,
    files: Mapping[str, Entry],
    came_from: str | None,
    choice: Mapping[str, Any] | None = None,
) -> bytes:
    """The manifest's bytes; `files`: its entries on the files, by name."""
    manifest = {
        **asdict(origin),
        **({"from": came_from} if came_from is not None else {}),
        **columns_of(task),
        "input": "float64" if takes_float64(task.network) else "float32",
        **({"input_why": input_reason(task)} if takes_float64(task.network) else {}),
        "missing": FILLED if fills(task) else UNFILLED,
        **({"clip": clip} if (clip := clip_of(task.network)) is not None else {}),
        **(choice or {}),
        "metrics": {name: _number(value) for name, value in metrics.items()},
        "onnx_max_abs_diff": _number(made.max_abs_diff),
        **({"withheld": {ONNX: made.withheld}} if made.withheld else {}),
        "files": files,
    }
    return (json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def entry_of(origin: Origin, content: bytes) -> Entry:
    """The manifest's entry on a file: its round and digest."""
    return {
        "generation": origin.generation,
        "round": origin.round,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": len(content),
    }


def kept_onnx(folder: Path, name: str = ONNX) -> Entry | None:
    """The entry on the ONNX file in the folder, from its metadata; None: there is no model of Fedge there."""
    try:
        content = (folder / name).read_bytes()
        model = onnx.load_model_from_string(content)
        said = {each.key: each.value for each in model.metadata_props}
        origin = Origin(said["federation"], int(said["generation"]), int(said["round"]), said["model"])
        return entry_of(origin, content)
    except Exception:  # whatever this file is, it is not a model of Fedge
        return None


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no NaN
