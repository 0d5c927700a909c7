"""Score a model's answers to rows whose true answers are known."""

import json
import logging
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from agent.cli.predict import answer
from agent.config import AgentSettings
from agent.data.answers import answers
from agent.data.data_warnings import warnings_of
from agent.data.finding import Finding
from agent.data.inventory import take_inventory
from agent.data.labels import UNKNOWN
from agent.settings.data import DataSettings
from agent.sources import Samples
from fedge.data import scorecard
from fedge.data.scorecard import LeftOut
from fedge.data.scores import UNANSWERED, Classification, Regression, classification, regression
from fedge.errors import DataError
from fedge.wire.messages.task import Task

log = logging.getLogger("fedge.agent")

WHOSE = {
    "shared": "the model",
    "personal": "this device's personal model",
}
"""How a model is called before its round."""
NOTHING_SAID = DataSettings()
"""The settings if no owner has set anything about the data."""
MISTAKABLE = frozenset({"classes from 1", "decimal comma", "not read"})
"""The kinds of warnings that concern a scored file. The others concern training data."""


def score(settings: AgentSettings, file: Path, out: TextIO, as_json: bool, *, shared: bool = False) -> None:
    """Print the scores of the answers to the rows of `file`, which also has the true answers.

    They are those of the model in use, or with `shared` of the shared one.

    The true answers are where the task's source has them: in the column that `[data] label` names, in the
    columns of the targets, or in `y`. A missing value is treated as `[data] missing` says. A row without a
    true answer is not counted.

    Raises:
        StateError: this device holds no model yet, or its file is damaged.
        DataError: `file` cannot be read, its columns are not the task's, it has no answers, or an answer is
            not one of the task's.
    """
    found = answer(settings, file, shared=shared)
    scores, unlabelled = scored(found.task, found.samples, found.rows, found.outputs, found.data)
    for doubt in misgivings(found.samples, found.data, found.task):
        log.warning("%s", doubt)
    left_out = LeftOut(unlabelled=unlabelled, incomplete=len(found.samples.X) - len(found.rows))
    if as_json:
        origin = {"generation": found.model.generation, "round": found.model.round, "model": found.kind}
        json.dump({**origin, **scorecard.as_json(scores, left_out)}, out, allow_nan=False, indent=2)
        out.write("\n")
    else:
        whose = WHOSE[found.kind]
        out.write(f"{whose} of round {found.model.generation}.{found.model.round}: ")
        out.write(scorecard.as_text(scores, left_out))


def misgivings(samples: Samples, data: DataSettings, task: Task | None) -> tuple[Finding, ...]:
    """Return warnings that the file may have been misunderstood, which would make the scores wrong."""
    return tuple(
        doubt
        for doubt in warnings_of(take_inventory(samples, data, task), data, task)
        if doubt.kind in MISTAKABLE or doubt.kind.startswith("impossible number")
    )


def scored(
    task: Task,
    samples: Samples,
    rows: NDArray[np.intp],
    outputs: NDArray[Any],
    data: DataSettings = NOTHING_SAID,
) -> tuple[Classification | Regression, int]:
    """Compare a model's outputs with the true answers of a file.

    Args:
        task: the task that the model was made for.
        samples: n rows with their true answers.
        rows: shape (r,), the numbers of the rows that the model has answered.
        outputs: shape (r, outputs), probabilities or targets; not finite where there is no answer.
        data: the section of the source, which says what labels mean.

    Returns:
        The scores, and how many of `rows` have no true answer and do not count.

    Raises:
        DataError: there are no true answers, an answer is not one of the task's, or no row is left.
    """
    y, unlabelled = answers(samples, task, data)
    if task.classes is not None:
        unlabelled = unlabelled | (y == UNKNOWN)
    known = ~unlabelled[rows]
    truth, given = y[rows[known]], outputs[known]
    if not len(truth):
        raise DataError(
            f"{samples.name}: none of the {len(samples.X)} rows has both an answer and its inputs"
        )
    if task.classes is None and not np.isfinite(given).all(axis=1).any():
        raise DataError(
            f"{samples.name}: the model has no answer to any of its {len(truth)} rows: in each row a value "
            "is missing, or too large for the model"
        )
    return scores_of(task, truth, given), int(len(known) - len(truth))


def scores_of(task: Task, y: NDArray[Any], outputs: NDArray[Any]) -> Classification | Regression:
    """Compare a model's outputs with the true answers.

    Args:
        task: the task that the model was made for.
        y: the n true answers, as in `Dataset.y`.
        outputs: shape (n, outputs), probabilities or targets; not finite where there is no answer.

    Raises:
        ValueError: there are no rows; or, in a regression, no row has an answer.
    """
    if task.classes is None:
        return regression(y, outputs, task.targets or ())
    answered = np.isfinite(outputs).all(axis=1)
    return classification(y, np.where(answered, outputs.argmax(axis=1), UNANSWERED), task.classes)
