"""`Model`: weights with their task, which predict; and `load_model`, which reads them from files."""

import json
import struct
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from agent.shell import model_file
from fedge.algorithms.codecs import float32
from fedge.algorithms.codecs.seeds import ANNOUNCED
from fedge.algorithms.registry import CODECS
from fedge.data.rules import Proposal
from fedge.errors import ConfigError, DamagedState, ProtocolError, StateError
from fedge.nn import Network
from fedge.nn.spec import NetworkSpec, Standardize
from fedge.storage.files import read_file
from fedge.wire.messages.message import pack
from fedge.wire.messages.model import Model as Message
from fedge.wire.messages.task import Task

SAFETENSORS, MANIFEST = "model.safetensors", "manifest.json"
"""The files that an aggregator exports beside the ONNX file."""
FILLS = "a missing value"
"""How the manifest's text begins if missing values are filled."""


@dataclass(frozen=True, eq=False)
class Model:
    """Weights and their task, which together can predict."""

    task: Task
    """The names of columns and outputs, and the network with the layers of the survey."""
    weights: NDArray[np.float32]
    """The weights, of shape (p,)."""
    generation: int = 1
    """The generation of the federation."""
    round: int = 0
    """The round that made the model."""

    def outputs(self, X: ArrayLike) -> NDArray[Any]:
        """Probabilities of the classes (n, classes), or targets in their own units (n, t).

        A missing value (NaN) counts as the survey's mean where the federation's rule is to fill; else the
        outputs of its row are NaN.

        Args:
            X: raw samples of shape (n, d), the columns in the order of `task.features`.

        Raises:
            ValueError: X is not of shape (n, d).
        """
        raw = np.array(X, np.float64)
        first, rules = self.task.network.layers[0], self.task.rules
        if isinstance(first, Standardize) and rules is not None and rules.fills and raw.ndim == 2:
            raw = np.where(np.isnan(raw), first.exact_means, raw)
        with np.errstate(over="ignore", invalid="ignore"):
            return Network(self.task.network).predict(self.weights, raw)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The names of the most probable classes, of shape (n,), or targets as `outputs` has them.

        Args:
            X: as in `outputs`; a row whose outputs are not finite has the class "".

        Raises:
            ValueError: X is not of shape (n, d).
        """
        found = self.outputs(X)
        if self.task.classes is None:
            return found
        best = np.array(self.task.classes)[found.argmax(axis=1)]
        return np.where(np.isfinite(found).all(axis=1), best, "")

    def save(self, path: Path | str) -> None:
        """Write the model as a device stores it, for `load_model`.

        Raises:
            StateError: it cannot be written.
        """
        message = Message(generation=self.generation, round=self.round, body=float32.encode(self.weights))
        model_file.save(Path(path), pack(self.task), pack(message))


def load_model(path: Path | str) -> Model:
    """Read a model that a federation has learnt.

    Args:
        path: a device's state folder, which gives the model that the device uses, or its `model.held`,
            `model.used` or `model.personal`; an aggregator's export folder, or the `model.safetensors` in it.

    Raises:
        StateError: there is none, it cannot be read, or is damaged; the text names the file.
        ConfigError: a newer program wrote it, and this version cannot compute it.
    """
    found = Path(path)
    if found.is_dir():
        if (found / SAFETENSORS).exists():
            return _exported(found / SAFETENSORS, found / MANIFEST)
        found = model_file.in_use(found, gated=(found / model_file.USED).exists())
    if found.suffix == ".safetensors":
        return _exported(found, found.with_name(MANIFEST))
    if found.suffix == ".onnx":
        raise ConfigError(f"{found}: give the folder, or {SAFETENSORS} beside it; ONNX is for other programs")
    task, message = model_file.load(found)
    try:
        weights = CODECS.make(message.codec).decode(message.body, task.network.schema.size, ANNOUNCED)
    except ProtocolError as error:
        raise DamagedState(f"{found}: is damaged ({error})") from error
    return Model(task, weights, message.generation, message.round)


def _exported(path: Path, manifest: Path) -> Model:
    """Read a model from a safetensors file: https://github.com/huggingface/safetensors, "Format"."""
    content = _read(path)
    try:
        about = json.loads(_read(manifest)) if manifest.exists() else {}
        if about and about["files"][SAFETENSORS]["sha256"] != sha256(content).hexdigest():
            raise ValueError(f"its SHA-256 is not the one in {manifest.name}")
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        said = json.loads(header["__metadata__"]["fedge"])
        body = memoryview(content)[8 + length :]
        tensors = {name: _tensor(body, place) for name, place in header.items() if name != "__metadata__"}
        return _model(said, tensors, fills=str(about.get("missing", "")).startswith(FILLS))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error) as error:
        if isinstance(error, ConfigError):
            raise
        text = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise DamagedState(f"{path}: is no exported model, or damaged ({text})") from error


def _model(said: dict[str, Any], tensors: dict[str, bytes], *, fills: bool) -> Model:
    """Make the model from an export's metadata and the bytes of its tensors."""
    layers = []
    for layer in said["network"]["layers"]:
        parts = {name: tensors.get(f"{layer['type']}.{name}") for name in ("mean", "scale", "rest")}
        layers.append({**layer, **{name: part for name, part in parts.items() if part is not None}})
    network = NetworkSpec.model_validate({**said["network"], "layers": layers})
    if not network.computable:
        raise ConfigError("this program cannot compute this network; upgrade it")
    names = {key: tuple(said[key]) for key in ("features", "classes", "targets") if key in said}
    task = Task.model_validate(
        {"network": network, "rules": Proposal(missing="fill") if fills else None, **names}
    )
    weights = b"".join(tensors[name] for name, _ in network.schema.parameters)
    vector = float32.decode(weights, network.schema.size)
    return Model(task, vector, said["generation"], said["round"])


def _tensor(body: memoryview, place: dict[str, Any]) -> bytes:
    first, end = place["data_offsets"]
    if place["dtype"] != "F32":
        raise ValueError(f"a tensor is of {place['dtype']}, not of float32")
    return bytes(body[first:end])


def _read(path: Path) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}") from error
