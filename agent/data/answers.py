"""The answers of a task: a class or targets for each row of a device's samples."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.data.class_mix import may_be_told
from agent.data.features import columns_of
from agent.data.labels import MISSING, UNKNOWN, Labels, read_labels, suggestions
from agent.data.missing_values import any_in_row
from agent.data.rules import Rules, effective
from agent.data.unfit import Unfit
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.data.disclosure import Agreed, Known, Public, listing, public
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason

NAMES_TOLD = 5
"""The largest number of names of its own classes that a device sends in a decline, if its owner allows it."""


def answers(samples: Samples, task: Task, settings: DataSettings) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the answer of each row, as in `Dataset.y`, and a mask of shape (n,) of the rows without one.

    A label that names no class of the task is `UNKNOWN` if the rules allow such rows to be left out.

    Raises:
        Unfit: WRONG_INPUT, there are no answers, or they are of another kind than the task's; BAD_DATA, an
            answer names no class of the task, or is not a number.
    """
    if task.classes:
        return _classes(samples, task.classes, effective(settings, task), settings)
    return _targets(samples, task.targets or ())


def _classes(
    samples: Samples, classes: tuple[str, ...], rules: Rules, settings: DataSettings
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return labels as indices of `classes`, shape (n,), and where they are missing.

    Unknown labels are `UNKNOWN` if the rules allow them to be left out.
    """
    labels = labels_of(samples, classes, rules, settings)
    if labels.from_one and settings.first_class is None:
        told = public("whole numbers from 1 to {count}, but classes are counted from 0", count=len(classes))
        raise Unfit(
            Reason.BAD_DATA,
            f"{samples.name}: {samples.answer}: {told}; if 1 is {classes[0]!r}, set [data] first_class = 1",
            public("the answers are {told}; [data] first_class = 1 counts them from 1", told=told),
        )
    unknown = labels.indices == UNKNOWN
    if unknown.any() and rules.unknown_labels == "refuse":
        row = int(unknown.argmax())
        told = public(
            "names none of the task's classes ({rows} such rows); they are {classes}",
            rows=int(unknown.sum()),
            classes=Known(*classes),
        )
        near = sorted(set(suggestions([*labels.unknown], classes).values()))
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise Unfit(
            Reason.BAD_DATA,
            f"{samples.place(row)}: {samples.answer} {told}{hint}; "
            "`fedge-agent --check` shows the lines for [data] labels, or set unknown_labels",
            _with_names(
                public("{place}: the answer {told}", place=samples.public_place(row), told=told),
                may_be_told(labels.unknown) if settings.tell_classes else [],
            ),
        )
    return labels.indices, labels.indices == MISSING


def _with_names(told: Public, names: list[str]) -> Public:
    """Add names of the device's own classes to the text that is sent; without names it stays as it is."""
    if not names:
        return told
    return public("{told}; here there are {names}", told=told, names=Agreed(*names[:NAMES_TOLD]))


def labels_of(samples: Samples, classes: tuple[str, ...], rules: Rules, settings: DataSettings) -> Labels:
    """Read the labels as these classes.

    Raises:
        Unfit: WRONG_INPUT, there are no labels, or they are neither names nor whole numbers.
    """
    y = samples.y
    if y is None:
        shown = f"; the columns are {listing(samples.columns)}" if samples.columns else ""
        raise Unfit(
            Reason.WRONG_INPUT,
            f"{samples.name}: there is no {samples.answer} with each row's class{shown}",
            public("there is no column or array with each row's class"),
        )
    if y.ndim != 1 or y.dtype.kind == "f":
        raise Unfit(
            Reason.WRONG_INPUT,
            f"{samples.name}: {samples.answer} must be class names or integers of shape (samples,) for a "
            f"classification, got {y.dtype} of shape {y.shape}",
            public("the answers must be class names or integers of shape (samples,) for a classification"),
        )
    return read_labels(samples, classes, rules.labels, settings.first_class)


def _targets(samples: Samples, targets: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return a regression's targets, shape (n, t), and the rows where one is missing, shape (n,)."""
    y = samples.y
    named = set(targets) <= set(samples.columns or ())
    if named or y is None or y.dtype.kind == "U":
        if samples.columns is None:
            told = public(
                "y must hold the targets {targets}; {what}",
                targets=Known(*targets),
                what=public("there is none") if y is None else public("it is text"),
            )
            raise Unfit(Reason.WRONG_INPUT, f"{samples.name}: {told}", told)
        found = samples.X[:, columns_of(samples, targets, public("targets"))]
        return found, any_in_row(np.isnan(found))
    if y.size != len(y) * len(targets):
        wanted = public(
            "the task has {count} targets: {targets}", count=len(targets), targets=Known(*targets)
        )
        raise Unfit(
            Reason.WRONG_INPUT,
            f"{samples.name}: y has shape {y.shape}, {wanted}",
            public("y has {count} numbers in a row, {wanted}", count=y.size // len(y), wanted=wanted),
        )
    with np.errstate(over="ignore"):
        found = y.reshape(len(y), len(targets)).astype(np.float32)
    if samples.unanswered is not None:
        found[samples.unanswered] = np.nan
    beyond = any_in_row(np.isinf(found))
    if beyond.any():
        row, told = int(beyond.argmax()), public("y is infinite, or too large for a float32")
        raise Unfit(
            Reason.BAD_DATA,
            f"{samples.place(row)}: {told}",
            public("{place}: {told}", place=samples.public_place(row), told=told),
        )
    return found, any_in_row(np.isnan(found))
