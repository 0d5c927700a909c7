"""Compare the scores of two models on this device's held-out rows, on the worker's thread."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.core.events import Judged
from agent.core.gate import Scores, compare
from agent.data.dataset import Dataset
from agent.data.model_scores import scores_of
from agent.shell import model_file
from fedge.algorithms.codecs.seeds import ANNOUNCED
from fedge.algorithms.registry import CODECS
from fedge.errors import ConfigError, DataError, ProtocolError, StateError
from fedge.nn import Network
from fedge.wire.messages.task import Task


@dataclass(frozen=True)
class Judgement:
    """A new model to compare with the model in use."""

    digest: bytes
    """Of the new model."""
    task: Task
    task_digest: bytes
    weights: NDArray[np.float32]
    used: Path
    """The file of the model in use."""
    tolerance: float


def judge(judgement: Judgement, dataset: Callable[[Task, bytes], Dataset]) -> Judged:
    """Score both models on the held-out rows, and decide which one to use.

    Args:
        judgement: names the two models.
        dataset: returns the device's data prepared for a task; may raise `DataError`.
    """
    new = _measure(judgement.task, judgement.task_digest, judgement.weights, dataset)
    verdict = compare(_in_use(judgement.used, dataset), new, judgement.tolerance)
    return Judged(judgement.digest, verdict.accepted, verdict.why)


def _in_use(path: Path, dataset: Callable[[Task, bytes], Dataset]) -> Scores | str:
    try:
        found = model_file.require(path)
        task, model = found.decoded_task, found.decoded_model
        weights = CODECS.make(model.codec).decode(model.body, task.network.schema.size, ANNOUNCED)
    except (StateError, ConfigError, ProtocolError) as error:
        return str(error)
    return _measure(task, found.task_digest, weights, dataset)


def _measure(
    task: Task, digest: bytes, weights: NDArray[np.float32], dataset: Callable[[Task, bytes], Dataset]
) -> Scores | str:
    try:
        data = dataset(task, digest)
    except DataError as error:
        return str(error)
    if not len(data.held_X):
        return "no rows are held out ([data] holdout)"
    with np.errstate(over="ignore", invalid="ignore"):
        outputs: NDArray[Any] = Network(task.network).predict(weights, data.held_X)
    try:
        return scores_of(task, data.held_y, outputs)
    except ValueError as error:
        return str(error)
