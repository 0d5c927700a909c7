"""The inventory of a source: which of its samples are used, by file, part, column and class. Pure.

It can be made of any samples, including those with which a device would decline. `agent.data.assessment` says
what is wrong with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.data.dataset import parts
from agent.data.division import Rows, without_held
from agent.data.labels import MISSING, UNKNOWN, Labels, read_labels
from agent.data.rules import Rules, effective
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.wire.messages.task import Task


@dataclass(frozen=True)
class ClassCount:
    """The number of rows of one class in the two parts."""

    name: str
    """Its name in the task; without a task, the label in the data."""
    written: str
    """The label in the data: `1` where numbers count the classes."""
    training: int
    held: int


@dataclass(frozen=True)
class Missing:
    """Missing values of one column."""

    count: int
    first: int
    """The first row with one."""


@dataclass(frozen=True)
class Inventory:
    """The inventory of n rows."""

    rules: Rules
    """The rules in force."""
    samples: Samples = field(repr=False)
    columns: tuple[int, ...]
    """The numbers of the used columns: the task's features and targets; without a task all columns of
    numbers."""
    absent: tuple[str, ...]
    """Names in the task that no column has."""
    missing: Mapping[int, Missing]
    """The missing values of used columns, without rows that are left out because of their class."""
    unanswered: NDArray[np.bool_]
    """Shape (n,): rows whose label or target is missing."""
    labels: Labels | None
    """The classes; None: the answers are not classes."""
    kept: Rows
    """The used rows: those without unfilled missing values and unknown classes."""
    training: Rows
    """The rows of the training part."""
    held: Rows
    """The held-out rows."""
    series: int
    """The number of series in the used rows."""
    short: int
    """The number of series without a held-out row, if a part should be held out."""
    classes: tuple[ClassCount, ...] | None
    """The rows of each class; None: the answers are not classes."""

    @property
    def held_unseen(self) -> int:
        """The number of held-out rows whose class does not occur in the training part."""
        return sum(one.held for one in self.classes or () if one.training == 0)

    @property
    def used(self) -> tuple[str, ...]:
        """The columns that are used, by name."""
        names = column_names(self.samples)
        return tuple(names[j] for j in self.columns)

    @property
    def unused(self) -> tuple[str, ...]:
        """The columns that are not used, by name."""
        return tuple(name for j, name in enumerate(column_names(self.samples)) if j not in self.columns)

    @property
    def excluded(self) -> tuple[dict[str, Any], ...]:
        """Values of used columns that the owner has declared missing, by column and reason."""
        names = column_names(self.samples)
        return tuple(
            {
                "column": "y" if one.column is None else names[one.column],
                "why": one.why,
                "count": one.count,
                "first": self.samples.place(one.first),
            }
            for one in self.samples.exclusions
            if one.column is None or one.column in self.columns
        )


def take_inventory(samples: Samples, settings: DataSettings, task: Task | None) -> Inventory:
    """Make the inventory of samples.

    Args:
        samples: the samples of the source, without the values that its owner excludes.
        settings: the section of the source.
        task: what is learnt; None: not known yet, so any column of numbers may be asked for.
    """
    rules, n = effective(settings, task), len(samples.X)
    columns, absent = _columns(samples, settings, task)
    labels = _labels(samples, settings, rules, task)
    unanswered = _unanswered(samples, labels, task)
    strange = labels.indices == UNKNOWN if labels is not None else np.zeros(n, dtype=np.bool_)
    left_out = strange & (rules.unknown_labels == "drop")
    missing, lacking = {}, np.zeros(n, dtype=np.bool_)
    for j in columns:
        if j in samples.faults:
            continue
        gone = np.isnan(samples.X[:, j]) & ~left_out
        if gone.any():
            missing[j] = Missing(int(gone.sum()), int(gone.argmax()))
            lacking |= gone
    if rules.missing == "fill":  # only features are filled; a row without a target cannot be used
        lacking = np.zeros(n, dtype=np.bool_)
        for j in _targets_among(columns, samples, task):
            lacking |= np.isnan(samples.X[:, j])
    kept = np.flatnonzero(~(lacking | unanswered | strange))
    training, held = parts(samples, kept, rules)
    series = samples.series[kept]
    return Inventory(
        rules=rules,
        samples=samples,
        columns=columns,
        absent=absent,
        missing=missing,
        unanswered=unanswered,
        labels=labels,
        kept=kept,
        training=training,
        held=held,
        series=len(np.unique(series)),
        short=without_held(series, np.searchsorted(kept, held), rules.holdout.by) * (rules.holdout.part > 0),
        classes=None if labels is None else _counts(labels, task, settings, training, held),
    )


def column_names(samples: Samples) -> tuple[str, ...]:
    """Return the columns' names; their numbers as text if they have no names."""
    return samples.columns or tuple(map(str, range(samples.X.shape[1])))


def _columns(
    samples: Samples, settings: DataSettings, task: Task | None
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    names = column_names(samples)
    if task is None:
        others = (getattr(settings, "label", None), getattr(settings, "series", None))
        numbers = (
            j for j in range(len(names)) if j not in samples.faults and not np.isnan(samples.X[:, j]).all()
        )
        return tuple(j for j in numbers if samples.columns is None or names[j] not in others), ()
    if samples.columns is None:
        return tuple(range(len(names))), ()
    where = {name: j for j, name in enumerate(samples.columns)}
    targets = task.targets or ()
    asked = (*task.features, *(() if _answers_hold(samples, targets) else targets))
    return tuple(where[n] for n in asked if n in where), tuple(n for n in asked if n not in where)


def _targets_among(columns: Sequence[int], samples: Samples, task: Task | None) -> list[int]:
    """Return the columns that hold targets."""
    targets = () if task is None or _answers_hold(samples, task.targets or ()) else task.targets or ()
    names = column_names(samples)
    return [j for j in columns if names[j] in targets and j not in samples.faults]


def _answers_hold(samples: Samples, targets: tuple[str, ...]) -> bool:
    """Whether targets are in `y` and not in columns of their names, by the rule of `agent.data.answers`."""
    y = samples.y
    return not set(targets) <= set(samples.columns or ()) and y is not None and y.dtype.kind != "U"


def _labels(samples: Samples, settings: DataSettings, rules: Rules, task: Task | None) -> Labels | None:
    y = samples.y
    if y is None or y.ndim != 1 or y.dtype.kind == "f" or (task is not None and task.classes is None):
        return None
    if task is not None and task.classes is not None:
        return read_labels(samples, task.classes, rules.labels, settings.first_class)
    found = y if samples.unanswered is None else y[~samples.unanswered]
    names = [str(name) for name in np.unique(found) if str(name)]
    meant = [rules.labels.get(name, name) for name in names]
    return read_labels(samples, tuple(dict.fromkeys(meant)), rules.labels, None)


def _unanswered(samples: Samples, labels: Labels | None, task: Task | None) -> NDArray[np.bool_]:
    if labels is not None:
        return np.asarray(labels.indices == MISSING, dtype=np.bool_)
    y = samples.y
    if y is not None and y.dtype.kind == "f" and (task is None or _answers_hold(samples, task.targets or ())):
        return np.asarray(np.isnan(y.reshape(len(y), -1)).any(axis=1), dtype=np.bool_)
    return np.zeros(len(samples.X), dtype=np.bool_)


def _counts(
    labels: Labels,
    task: Task | None,
    settings: DataSettings,
    training: Rows,
    held: Rows,
) -> tuple[ClassCount, ...]:
    names = labels.names
    of_training, of_held = (
        np.bincount(labels.indices[rows], minlength=len(names)) for rows in (training, held)
    )
    first = (settings.first_class or 0) if task is not None and labels.counted else None
    return tuple(
        ClassCount(name, name if first is None else str(index + first), int(trained), int(kept))
        for index, (name, trained, kept) in enumerate(zip(names, of_training, of_held, strict=True))
    )
