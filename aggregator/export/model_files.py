"""The model as files for others: safetensors, ONNX that has been checked, and a manifest.

The ONNX file is written only after onnxruntime has computed with it what our own forward pass computes, also
on rows with gaps. Otherwise it is withheld with a reason, and the last good one stays.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.export.job import UNTRAINED
from aggregator.export.manifest import MANIFEST, ONNX, SAFETENSORS, entry_of, kept_onnx, manifest_of
from aggregator.export.safetensors_file import to_safetensors
from fedge.export.metadata import Origin
from fedge.export.onnx_file import OnnxResult, checked_onnx
from fedge.nn.probes import Samples
from fedge.storage import atomic_files
from fedge.wire.messages.task import Task


def write(
    folder: Path,
    task: Task,
    vector: NDArray[np.float32],
    origin: Origin,
    metrics: Mapping[str, float] | None = None,
    samples: Samples | None = None,
    came_from: str | None = None,
    choice: Mapping[str, Any] | None = None,
) -> OnnxResult:
    """Write `model.safetensors`, `model.onnx` and, last, `manifest.json` with their SHA-256 into `folder`.

    The ONNX file is compared with our forward pass on the probes (`fedge.export.parity`): ordinary rows,
    rows with gaps, and where inputs are clipped, rows beyond the bound. A difference counts absolutely for
    probabilities, and for targets as a share of their scale (`parity.output_scales`). Above 1e-5 the file is
    withheld, and the file of the last good round stays; the manifest names the round of each file. A file
    there that is not a model of Fedge is removed.

    Args:
        folder: exists; each file in it is replaced as a whole.
        task: the task that the weights belong to.
        vector: the weights, of shape (p,).
        origin: for the metadata of each file.
        metrics: the round's figures, for the manifest.
        samples: real, raw and complete samples of shape (n, d) to compare on as well.
        came_from: for the manifest: the older rounds that the model is of, if a generation begins with it.
        choice: for the manifest: why it is this model, and what was measured of it.

    Raises:
        StateError: the disk is full, read-only or failing; no file is left half written.
    """
    told = {key: str(text) for key, text in (choice or {}).items() if key == UNTRAINED}
    made = checked_onnx(task, vector, origin, samples, told)
    contents = {SAFETENSORS: to_safetensors(task, vector, origin)}
    if made.onnx is not None:
        contents[ONNX] = made.onnx
    files = {name: entry_of(origin, content) for name, content in contents.items()}
    kept = kept_onnx(folder) if made.onnx is None else None
    if kept is not None:
        files[ONNX] = kept
    for name, content in contents.items():
        atomic_files.atomic_write(folder / name, content)
    manifest = manifest_of(task, origin, metrics or {}, made, files, came_from, choice)
    atomic_files.atomic_write(folder / MANIFEST, manifest)
    if ONNX not in files:
        atomic_files.remove(folder / ONNX)
    return made
