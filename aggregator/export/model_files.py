"""The model as files for others: safetensors, ONNX that has been checked, and a manifest.

The ONNX file is written only after onnxruntime has computed with it what our own forward pass computes, also
on rows with gaps. Otherwise it is withheld with a reason, and the last good one stays.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.export.job import Clusters
from aggregator.export.manifest import MANIFEST, ONNX, SAFETENSORS, Entry, entry_of, kept_onnx, manifest_of
from aggregator.export.safetensors_file import to_safetensors
from fedge.algorithms.kept_parameters import UNTRAINED
from fedge.export.metadata import PRIVACY, Origin
from fedge.export.onnx_file import OnnxResult, checked_onnx
from fedge.nn.probes import Samples
from fedge.storage import atomic_files
from fedge.wire.messages.fields import MAX_VECTORS
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
    clusters: Clusters | None = None,
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
        clusters: all shared models, where there are several: each gets files of its own, as `cluster_1.onnx`.

    Raises:
        StateError: the disk is full, read-only or failing; no file is left half written.
    """
    told = {key: str(text) for key, text in (choice or {}).items() if key == UNTRAINED}
    privacy = (choice or {}).get(PRIVACY)
    if privacy is not None:
        told[PRIVACY] = json.dumps(privacy)
    made = checked_onnx(task, vector, origin, samples, told)
    results = {(ONNX, SAFETENSORS): (vector, made)}
    for number, each in enumerate(() if clusters is None else clusters.vectors):
        about = {**told, "cluster": str(number)}
        results[names_of(number)] = each, checked_onnx(task, each, origin, samples, about)
    contents: dict[str, bytes] = {}
    files: dict[str, Entry] = {}
    for (onnx, safetensors), (each, result) in results.items():
        contents[safetensors] = to_safetensors(task, each, origin, privacy)
        if result.onnx is not None:
            contents[onnx] = result.onnx
        elif (kept := kept_onnx(folder, onnx)) is not None:
            files[onnx] = kept
    files |= {name: entry_of(origin, content) for name, content in contents.items()}
    for name, content in contents.items():
        atomic_files.atomic_write(folder / name, content)
    said = _told(clusters, [result for _, result in results.values()][1:])
    manifest = manifest_of(task, origin, metrics or {}, made, files, came_from, {**(choice or {}), **said})
    atomic_files.atomic_write(folder / MANIFEST, manifest)
    if ONNX not in files:
        atomic_files.remove(folder / ONNX)
    remove_clusters(folder, files)
    return made


def names_of(cluster: int) -> tuple[str, str]:
    """The names of a shared model's ONNX and safetensors file, where there are several models."""
    return f"cluster_{cluster}.onnx", f"cluster_{cluster}.safetensors"


def remove_clusters(folder: Path, stay: Collection[str] = ()) -> None:
    """Remove the files of shared models that are no longer there from a folder."""
    for number in range(1 + MAX_VECTORS):
        for name in names_of(number):
            if name not in stay and (folder / name).exists():
                atomic_files.remove(folder / name)


def _told(clusters: Clusters | None, results: Sequence[OnnxResult]) -> dict[str, Any]:
    """The manifest's entries on the shared models, if there are several."""
    if clusters is None:
        return {}
    each = [
        {
            "cluster": number,
            "devices": clusters.devices[number] if clusters.devices else None,
            "files": list(names_of(number)),
            **({"withheld": result.withheld} if result.withheld else {}),
        }
        for number, result in enumerate(results)
    ]
    return {"cluster": clusters.most, "clusters": each}
