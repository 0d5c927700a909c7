"""Score an exported model on a file with true answers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import ValidationError

from agent.data.features import features
from agent.data.model_scores import misgivings, scored
from agent.settings.sources import LABEL, CsvSettings
from agent.sources import CsvSource, NpzSource, Source
from agent.sources.exclusions import exclude
from agent.sources.form_settings import FormSettings
from fedge.data.scorecard import LeftOut
from fedge.data.scores import Classification, Regression
from fedge.errors import DataError
from fedge.nn.spec import Dense, NetworkSpec
from fedge.service.escapes import printable
from fedge.storage.files import read_file
from fedge.wire.messages.task import Task
from fleet.cli.data_options import csv_settings
from fleet.demo.provision import Value
from fleet.demo.verification import Inputs, dtype_of
from fleet.trial.usage import UsageError

ort.disable_telemetry_events()

NOTHING_SAID: Mapping[str, Value] = MappingProxyType({})
ELSEWHERE = {
    **dict.fromkeys(("source", "path"), "is chosen by the file that is named"),
    "label": "is chosen by --label",
    "missing": "says nothing here: the model is given each row as it is",
    **dict.fromkeys(
        ("holdout", "gap", "minimum", "newest", "series"), "says nothing here: every row is evaluated"
    ),
}
"""Keys of `[data]` without a meaning here, and why."""
BLOCK = 4_096
"""Rows computed at a time."""


@dataclass(frozen=True)
class Evaluated:
    """The result."""

    federation: str
    generation: int | None
    """With `round`: which round's model it is, if the file says so."""
    round: int | None
    scores: Classification | Regression
    left_out: LeftOut
    gaps: int
    """Rows that the model got with a missing value; the model decides what becomes of them."""
    warnings: tuple[str, ...] = ()
    """Doubts about how the file was understood."""


def evaluate(
    model: Path, data: Path, label: str | None = None, section: Mapping[str, Value] = NOTHING_SAID
) -> Evaluated:
    """Give the rows of a file to an exported model, and score what it answers.

    Args:
        model: `model.onnx` as the aggregator exports it, whose metadata name its columns.
        data: a CSV, a folder of them, or an `.npz`, with the model's features by name and the true answers.
        label: a CSV's column of class names; None: `label`.
        section: keys of `[data]`: how the file is written, and what its values and labels mean.

    Raises:
        UsageError: a label is named and the model answers with numbers, or what is said cannot be meant.
        DataError: a file cannot be read, is no such model, lacks a column, or names a class that the model
            does not know.
    """
    session, said = _open(model)
    task = _task(model, said)
    if label is not None and task.classes is None:
        raise UsageError(
            f"--label {label}: the model answers with numbers, which stand in {', '.join(task.outputs)}; "
            "leave it out"
        )
    named = label if label is not None else LABEL
    settings = csv_settings({**section, "source": "csv", "path": str(data), "label": named})
    exact = dtype_of(session) is np.float64
    samples = exclude(_source(data, settings, exact).read(), settings)
    if task.classes is not None and samples.columns is not None and samples.y is None:
        raise DataError(
            f"{samples.name}: there is no column {named!r} with each row's class; say which it is by --label"
        )
    X = features(samples, task, exact=exact)
    outputs = _compute(model, session, X)
    if outputs.shape != (len(X), len(task.outputs)):
        raise DataError(f"{model}: its metadata name {len(task.outputs)} outputs, and it computes others")
    scores, unlabelled = scored(task, samples, np.arange(len(X)), outputs, settings)
    return Evaluated(
        federation=said.get("federation", ""),
        generation=_whole(said.get("generation")),
        round=_whole(said.get("round")),
        scores=scores,
        left_out=LeftOut(unlabelled=unlabelled),
        gaps=_gaps(X),
        warnings=tuple(map(str, misgivings(samples, settings, task))),
    )


def _source(data: Path, settings: CsvSettings, exact: bool) -> Source:
    if data.suffix == ".npz":
        return NpzSource(data, exact=exact)
    return CsvSource(
        data,
        settings.label,
        columns=settings.columns,
        growing=False,
        form=FormSettings.of(settings),
        files=settings.files,
        exact=exact,
    )


def _compute(path: Path, session: Any, X: Inputs) -> NDArray[Any]:
    name = session.get_inputs()[0].name
    try:
        return np.concatenate(
            [session.run(None, {name: X[i : i + BLOCK]})[0] for i in range(0, len(X), BLOCK)]
        )
    except Exception as error:
        raise _incomputable(path, error) from None


def _incomputable(path: Path, error: Exception) -> DataError:
    """The engine raises kinds of its own; the first line says it all."""
    first = str(error).strip().splitlines()[:1] or [type(error).__name__]
    return DataError(f"{path}: is no model that onnxruntime can compute: {printable(first[0])}")


def _gaps(X: Inputs) -> int:
    return int(np.isnan(X).any(axis=1).sum())


def _open(path: Path) -> tuple[Any, dict[str, str]]:
    """The model, ready to compute, and what its metadata say."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(read_file(path), options, providers=["CPUExecutionProvider"])
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except Exception as error:
        raise _incomputable(path, error) from None
    return session, dict(session.get_modelmeta().custom_metadata_map)


def _task(path: Path, said: dict[str, str]) -> Task:
    """What the model asks of samples: its columns and answers, by its metadata."""
    try:
        named: dict[str, Any] = {
            key: _names(said[key]) for key in ("features", "classes", "targets") if key in said
        }
        outputs = named.get("classes") or named["targets"]
        network = NetworkSpec(
            inputs=len(named["features"]),
            layers=(Dense(units=len(outputs)),),  # stands for whatever is in the file
            loss="cross-entropy" if "classes" in named else "mse",
        )
        return Task(network=network, **named)
    except (KeyError, TypeError, ValueError, ValidationError):
        raise DataError(
            f"{path}: its metadata do not name features, and classes or targets: it is no model.onnx as "
            "fedge-aggregator exports it"
        ) from None


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 19 else None


def _names(text: str) -> tuple[Any, ...]:
    names = json.loads(text)
    if not isinstance(names, list):
        raise TypeError
    return tuple(names)
