"""Predict with the model that this device holds, without a network connection."""

import csv
import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from agent.config import AgentSettings
from agent.data.features import features
from agent.data.missing_values import settle_missing
from agent.data.rules import effective
from agent.settings.data import DataSettings
from agent.settings.sources import DEFAULT_SOURCE, LABEL, CsvSettings
from agent.shell import model_file
from agent.sources import CsvSource, NpzSource, Samples, Source
from agent.sources.exclusions import exclude
from agent.sources.form_settings import NOTHING, FormSettings
from agent.trainers.extensions import load_extensions
from fedge.algorithms.codecs.seeds import ANNOUNCED
from fedge.algorithms.kept_parameters import untrained
from fedge.algorithms.registry import CODECS
from fedge.errors import ProtocolError, StateError
from fedge.nn import Network
from fedge.nn.spec import takes_float64
from fedge.service.escapes import printable
from fedge.wire.messages.model import Model
from fedge.wire.messages.task import Task

log = logging.getLogger("fedge.agent")


def predict(settings: AgentSettings, file: Path, out: TextIO, as_json: bool, *, shared: bool = False) -> None:
    """Write the answer of the model in use to each row of `file`.

    The file is a CSV or an `.npz` with the task's features. The model in use is the device's own where it has
    chosen one; with `shared` it is the shared one.

    CSV: `row,class,probability`, or `row` and the targets by name. JSON: one object with the model's
    `generation` and `round`, `model` (shared or personal), and `predictions` with a probability for
    every class, or the targets. Rows are counted from 0. A missing value is treated as `[data] missing` says;
    a dropped row has no answer. If numbers are too large for the model, the answer is empty, in JSON null. On
    a terminal, control characters in names are escaped.

    Raises:
        StateError: this device holds no model yet, or its file is damaged.
        DataError: `file` cannot be read, or its columns are not the task's.
        ConfigError: an extension cannot be loaded.
    """
    found = answer(settings, file, shared=shared)
    if as_json:
        _write_json(out, found)
    else:
        _write_csv(out, found.task, found.rows, found.outputs)


@dataclass(frozen=True)
class Answered:
    """The rows of a file, and the model's answers to them."""

    task: Task
    model: Model
    samples: Samples
    rows: NDArray[np.intp]
    """Shape (r,): the numbers of the rows that have an answer. Others were dropped for missing values."""
    outputs: NDArray[Any]
    """Shape (r, outputs): probabilities of the classes, or targets; not finite: no answer."""
    data: DataSettings
    """The section of the task's source."""
    kind: str
    """`shared`; or `personal`, the device's own."""


def answer(settings: AgentSettings, file: Path, *, shared: bool = False) -> Answered:
    """Let the model in use answer each row of `file`; with `shared` the shared one.

    Raises:
        StateError, DataError, ConfigError: see `predict`.
    """
    load_extensions(settings)  # the owner's extensions may define its layers
    path = used_by(settings, shared=shared)
    stored = model_file.require(path)
    task, model = stored.decoded_task, stored.decoded_model
    weights = weights_of(path, task, model)
    data = settings.offered.get(task.source or DEFAULT_SOURCE, settings.data)
    samples = exclude(_source(file, data, task).read(), data, all_columns=False)
    X = features(samples, task)
    rows = settle_missing(X, samples, task, effective(data, task))
    with np.errstate(over="ignore", invalid="ignore"):
        outputs = Network(task.network).predict(weights, X[rows])
    kind = "shared" if stored.own is None else stored.own.chosen
    if stored.local:
        log.warning("the shared model gives no useful answers: %s", untrained(stored.local))
    return Answered(task, model, samples, rows, outputs, data, kind)


def used_by(settings: AgentSettings, *, shared: bool) -> Path:
    """Return the file of the model that this device uses; with `shared` that of the shared one in use."""
    found = model_file.shared_in_use if shared else model_file.in_use
    return found(settings.state.folder, gated=settings.predict.tolerance is not None)


def _source(file: Path, data: DataSettings, task: Task) -> Source:
    """Open a file. A CSV has the dialect of `[data]` and the columns of its first line, or those of `[data]`
    if that is no header. No line is left out or moved, because answers refer to the rows' numbers."""
    exact = takes_float64(task.network)
    if file.suffix == ".npz":
        return NpzSource(file, exact=exact)
    if not isinstance(data, CsvSettings):
        return CsvSource(file, LABEL, growing=False, form=NOTHING.row_by_row(), exact=exact)
    source = CsvSource(file, data.label, growing=False, form=FormSettings.of(data).row_by_row(), exact=exact)
    if data.columns is None or set(task.features) <= source.names():
        return source
    return replace(source, columns=data.columns)


def weights_of(path: Path, task: Task, model: Model) -> NDArray[np.float32]:
    """Return the weights of a stored model, of shape (p,).

    Raises:
        StateError: the file is damaged.
    """
    try:
        return CODECS.make(model.codec).decode(model.body, task.network.schema.size, ANNOUNCED)
    except ProtocolError as error:
        raise StateError(
            f"{path}: is damaged ({error}); delete it, and the agent fetches it again"
        ) from error


def _write_csv(out: TextIO, task: Task, rows: NDArray[np.intp], answers: NDArray[Any]) -> None:
    writer = csv.writer(out, lineterminator="\n")
    names = tuple(printable(name) for name in task.outputs) if out.isatty() else task.outputs
    if task.classes is None:
        writer.writerow(("row", *names))
        for row, answer in zip(rows, answers, strict=True):
            writer.writerow((row, *(value if np.isfinite(value) else None for value in answer)))
        return
    writer.writerow(("row", "class", "probability"))
    for row, answer in zip(rows, answers, strict=True):
        best = _best(names, answer)
        writer.writerow((row, best, None if best is None else answer.max()))


def _write_json(out: TextIO, found: Answered) -> None:
    task, predictions = found.task, []
    for row, answer in zip(found.rows, found.outputs, strict=True):
        named = {
            name: float(str(value)) if np.isfinite(value) else None
            for name, value in zip(task.outputs, answer, strict=True)
        }
        prediction: dict[str, Any] = {"row": int(row)}
        if task.classes is None:
            prediction["targets"] = named
        else:
            prediction |= {"class": _best(task.classes, answer), "probabilities": named}
        predictions.append(prediction)
    document = {
        "generation": found.model.generation,
        "round": found.model.round,
        "model": found.kind,
        "predictions": predictions,
    }
    json.dump(document, out, ensure_ascii=out.isatty(), allow_nan=False, indent=2)
    out.write("\n")


def _best(classes: tuple[str, ...], probabilities: NDArray[Any]) -> str | None:
    """Return the most probable class; None: the probabilities are not finite."""
    return classes[int(probabilities.argmax())] if np.isfinite(probabilities).all() else None
