"""A model as a safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from fedge.export.metadata import PRIVACY, Origin, columns_of
from fedge.nn.spec import NetworkSpec
from fedge.wire.messages.task import Task


def to_safetensors(
    task: Task, vector: NDArray[np.float32], origin: Origin, privacy: Mapping[str, Any] | None = None
) -> bytes:
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
    metadata = {**asdict(origin), **columns_of(task), "network": network}
    if privacy is not None:
        metadata[PRIVACY] = dict(privacy)
    content: bytes = save(_tensors(task.network, vector), {"fedge": json.dumps(metadata, ensure_ascii=False)})
    return content


def _tensors(spec: NetworkSpec, vector: NDArray[np.float32]) -> dict[str, NDArray[np.floating[Any]]]:
    tensors: dict[str, NDArray[np.floating[Any]]] = dict(spec.schema.views(vector))
    for layer in spec.layers:
        tensors |= {f"{layer.name}.{name}": tensor for name, tensor in layer.tensors.items()}
    return tensors
