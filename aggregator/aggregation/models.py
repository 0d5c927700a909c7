"""Models as they are announced, stored and hashed: messages written and read."""

from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from aggregator.ledger.layout import FILE
from aggregator.ledger.reading import LedgerReader
from fedge import __version__, nn
from fedge.algorithms.codecs.seeds import ANNOUNCED
from fedge.algorithms.protocols import cluster_names
from fedge.algorithms.registry import CODECS
from fedge.errors import ConfigError, DamagedState
from fedge.wire.capabilities import unknown_in_task
from fedge.wire.frames import split
from fedge.wire.messages.fields import MAX_SIZE, MAX_VECTORS
from fedge.wire.messages.frame import Blob
from fedge.wire.messages.message import unpack
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task

Vector = NDArray[np.float32]


def first_weights(task: Task, seed: int, generation: int) -> Vector:
    """The model that training begins with: a function of task, seed and generation."""
    return nn.first_weights(task.network, seed, generation)


def first_vectors(names: tuple[str, ...], size: int) -> dict[str, Vector]:
    """The first model's vectors besides its weights: zeros, of shape (size,) each."""
    return {name: np.zeros(size, np.float32) for name in names}


def first_clusters(names: tuple[str, ...], task: Task, seed: int, generation: int) -> dict[str, Vector]:
    """The first models besides `weights` where there are several, each from a seed of its own.

    Args:
        names: of all models; the first one is `weights`.
        task: has the network.
        seed: of the federation: model j is drawn with `seed` + j.
        generation: its number.
    """
    return {
        name: first_weights(task, seed + number, generation) for number, name in enumerate(names[1:], start=1)
    }


def read_model(ledger: LedgerReader, digest: bytes) -> Model:
    """A model in the ledger by its digest."""
    return unpack(ledger.content(digest), Model, max_bytes=MAX_SIZE)


def weights_of(ledger: LedgerReader, model: Blob, size: int) -> Vector:
    """The vector of a model in the ledger, of shape (size,)."""
    return vector_of(ledger, model.digest, size)


def vector_of(ledger: LedgerReader, digest: bytes, size: int) -> Vector:
    """The vector of a model in the ledger by its digest, of shape (size,)."""
    message = read_model(ledger, digest)
    return CODECS.make(message.codec).decode(message.body, size, ANNOUNCED)


def vectors_of(ledger: LedgerReader, digest: bytes, names: tuple[str, ...], size: int) -> dict[str, Vector]:
    """The vectors of these names that a model in the ledger has besides its weights, of shape (size,) each.

    Raises:
        DamagedState: it lacks one of them.
    """
    message = read_model(ledger, digest)
    there = message.vectors or {}
    if lacks := ", ".join(name for name in names if name not in there):
        raise DamagedState(f"{FILE}: the model of round {message.generation}.{message.round} has no {lacks}")
    codec = CODECS.make(message.codec)
    return {name: codec.decode(there[name], size, ANNOUNCED) for name in names}


def clusters_of(ledger: LedgerReader, digest: bytes, size: int) -> tuple[Vector, ...]:
    """All shared models of a model message in the ledger, by cluster, of shape (size,) each."""
    message = read_model(ledger, digest)
    codec = CODECS.make(message.codec)
    return tuple(codec.decode(body, size, ANNOUNCED) for body in (message.body, *further_clusters(message)))


def further_clusters(message: Model) -> tuple[bytes, ...]:
    """The encoded shared models of a message besides its weights, by cluster; () if there are none."""
    there = message.vectors or {}
    names = takewhile(there.__contains__, cluster_names(1 + MAX_VECTORS)[1:])
    return tuple(there[name] for name in names)


def blob_of(data: bytes, slot: int, frames: int | None = None) -> Blob:
    """The description of a framed message in a slot; in as few frames as can be, unless told."""
    pieces = split(data)
    return Blob(digest=pieces.id, slot=slot, frames=frames or len(pieces), size=len(data))


def task_of(ledger: LedgerReader, digest: bytes) -> Task:
    """A task in the ledger by its digest.

    Raises:
        ConfigError: a newer program wrote it, and this one cannot compute it.
    """
    task = unpack(ledger.content(digest), Task, max_bytes=MAX_SIZE)
    if names := unknown_in_task(task):
        raise ConfigError(
            f"the task in this ledger needs {', '.join(names)}, which this program (Fedge {__version__}) "
            "cannot do: install the newer program again, or restore a backup from before the upgrade"
        )
    return task
