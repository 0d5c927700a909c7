"""What could be learnt from a file: features, classes or a target, and a network, proposed from its columns.

Left out is what would not help other rows, or would give the answer away: text, what never changes, times and
counters (a model that saw them knows when a row was measured, and no row to come lies there), and the class
once more under another name.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, log2
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources.samples import Samples
from fedge.disclosure import listing
from fedge.errors import DataError
from fedge.nn.spec import Dense, ReLU

MOST_CLASSES = 200
"""More different answers than this are no classes, but numbers or texts."""
MOST_MISSING = 0.5
"""A column that is empty in a larger part of the rows is left out."""
FEWEST_STEPS = 20
"""From so many steps on, a column that only rises is a time or a counter."""
UNITS = (16, 64)
"""The narrowest and the widest hidden layer that is proposed."""
_TIME = frozenset(
    {
        "date",
        "datetime",
        "epoch",
        "last_changed",
        "last_updated",
        "seconds_elapsed",
        "time",
        "timestamp",
        "ts",
        "unixtime",
    }
)
_EPOCHS = ((1e9, 4e9), (1e12, 4e12), (1e15, 4e15), (1e18, 4e18))
"""Unix time from 2001 to 2096 in seconds, ms, µs and ns."""
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Proposal:
    """What `[model]` of `federation.toml` could say."""

    features: tuple[str, ...]
    """The input columns, in the file's order."""
    classes: tuple[str, ...] | None
    """The class names of a classification: numbers in their order, other names by the alphabet."""
    targets: tuple[str, ...] | None
    """The target of a regression."""
    left_out: tuple[tuple[str, str], ...]
    """Columns that are not used, each with the reason, in the file's order."""
    layers: tuple[Dense | ReLU, ...]
    """The hidden layers."""
    incomplete: int = 0
    """Rows that lack a feature or their answer: what becomes of them, `[data] missing` says."""
    doubts: tuple[str, ...] = ()
    """What in the file may be otherwise than it was taken."""


def propose(
    samples: Samples, label: str | None, regression: str | None, apart: Mapping[str, str] = _NOTHING
) -> Proposal:
    """Propose what could be learnt from `samples`.

    Args:
        samples: as a source reads them; a CSV's source is given the label, so that the answers stand in `y`.
        label: the column of class names; None, and no `regression` either: the classes are in `y`.
        regression: the column to predict as a number, instead of classes.
        apart: columns that serve another purpose, by name with what to say of them: the device's, the
            recording's.

    Raises:
        DataError: there is no such column, it holds no classes or no numbers, or no feature is left.
    """
    if samples.nameless is not None:
        raise samples.nameless
    columns = samples.columns or tuple(f"x{j}" for j in range(samples.X.shape[1]))
    for role, name in (("label", label), ("target", regression)):
        if name is not None and samples.columns is not None and name not in columns:
            raise DataError(
                f"{samples.name}: there is no column {name!r} for the {role}; the columns are "
                f"{listing(columns)}"
            )
    targets = None if regression is None else (_target(samples, columns, regression),)
    numbered = None if regression is not None else _numbered(samples, label)
    answer = regression if regression is not None else label
    features, left_out = [], []
    for j, name in enumerate(columns):
        if name == answer:
            continue
        why = apart.get(name) or _unfit(samples, j, name, None if numbered is None else numbered[1])
        if why is None:
            features.append(name)
        else:
            left_out.append((name, why))
    if not features:
        told = "; ".join(f"{name!r} {why}" for name, why in left_out)
        raise DataError(f"{samples.name}: no column is left to learn from: {told or 'there is no other'}")
    classes = None if numbered is None else numbered[0]
    return Proposal(
        features=tuple(features),
        classes=classes,
        targets=targets,
        left_out=tuple(left_out),
        layers=_layers(len(features), 1 if classes is None else len(classes)),
        incomplete=_incomplete(
            samples,
            [columns.index(name) for name in (*features, *(targets or ())) if name in columns],
            numbered,
        ),
    )


def _incomplete(
    samples: Samples, used: list[int], numbered: tuple[tuple[str, ...], NDArray[np.int64]] | None
) -> int:
    lacking = np.isnan(samples.X[:, used]).any(axis=1)
    if numbered is not None:
        lacking |= numbered[1] < 0
    return int(lacking.sum())


def _numbered(samples: Samples, label: str | None) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The class names, and each row's class as an index of them, of shape (n,); -1: it has none."""
    called = f"column {label!r}" if label is not None else samples.answer
    y = samples.y
    if y is None:
        raise DataError(f"{samples.name}: there is no {called} with each row's class")
    if y.ndim != 1 or y.dtype.kind == "f":
        raise DataError(
            f"{samples.name}: {called} holds numbers, not classes; for a regression use --regression COLUMN"
        )
    values, inverse = np.unique(y, return_inverse=True)
    names = [str(value).strip() for value in values.tolist()]
    classes = tuple(sorted({name for name in names if name}, key=_order))
    if len(classes) < 2:
        raise DataError(f"{samples.name}: {called} names {len(classes)} class; there must be 2 or more")
    if len(classes) > MOST_CLASSES or (len(classes) > 20 and 2 * len(classes) > len(y)):
        raise DataError(
            f"{samples.name}: {called} has {len(classes)} different values in {len(y)} rows; these are no "
            f"classes: for a number to predict use --regression COLUMN"
        )
    index = {name: i for i, name in enumerate(classes)}
    of_value = np.array([index.get(name, -1) for name in names], np.int64)
    found = of_value[inverse.reshape(-1)]
    if samples.unanswered is not None:
        found[samples.unanswered] = -1
    return classes, found


def _order(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if re.fullmatch(r"-?\d{1,18}", name) else (1, 0, name)


def _target(samples: Samples, columns: tuple[str, ...], name: str) -> str:
    """The target's name, after a look at whether it can be one."""
    j = columns.index(name) if name in columns else None
    if j is None:  # an archive's `y`, which has no name of its own: it is called as the user says
        if samples.y is None or samples.y.dtype.kind not in "fiu" or samples.y.size != len(samples.X):
            raise DataError(f"{samples.name}: there is no column {name!r}, and y is no number for each row")
        return name
    if (fault := samples.faults.get(j)) is not None:
        raise DataError(f"{samples.name}: column {name!r} cannot be a target: {fault.place}: {fault.what}")
    values = samples.X[:, j]
    present = values[np.isfinite(values)]
    if not len(present) or present.min() == present.max():
        raise DataError(f"{samples.name}: column {name!r} cannot be a target: it has no two different values")
    return name


def _unfit(samples: Samples, j: int, name: str, classes: NDArray[np.int64] | None) -> str | None:
    """Why column j is no feature; None: it can be one."""
    if (fault := samples.faults.get(j)) is not None:
        return f"is no column of numbers ({fault.place}: {fault.what})"
    values = samples.X[:, j].astype(np.float64)
    present = np.isfinite(values)
    if not present.any():
        return "holds no value"
    if (missing := 1 - present.mean()) > MOST_MISSING:
        return f"is empty in {missing:.0%} of the rows"
    if re.sub(r"[\s_]*[(\[].*", "", name).strip("_ ").lower() in _TIME:
        return "is a time by its name"
    if _is_time(values, present, samples.series):
        return "only rises, as a time or a counter does"
    if values[present].min() == values[present].max():
        return "is always the same"
    if classes is not None and _is_answer(values, classes):
        return "has one value for each class: it is the answer under another name"
    return None


def _is_time(values: NDArray[np.float64], present: NDArray[np.bool_], series: NDArray[np.int64]) -> bool:
    """Whether values never fall within a recording, and rise at nearly every row or are Unix times.

    float32 rounds Unix times to steps of two minutes, so those need not rise at every row, or at all.
    """
    rows = np.flatnonzero(present)
    order = rows[np.argsort(series[rows], kind="stable")]
    within = np.diff(series[order]) == 0
    steps = np.diff(values[order])[within]
    if len(steps) < FEWEST_STEPS or (steps < 0).any():
        return False
    low, high = values[present].min(), values[present].max()
    return bool((steps > 0).mean() > 0.9 or any(first <= low and high <= last for first, last in _EPOCHS))


def _is_answer(values: NDArray[np.float64], classes: NDArray[Any]) -> bool:
    """Whether each of three or more classes has one value, and no other class has it.

    Of two classes this is no sign: a good switch tells two states apart as well.
    """
    known = np.isfinite(values) & (classes >= 0)
    pairs = np.unique(np.stack([values[known], classes[known].astype(np.float64)]), axis=1)
    k = len(np.unique(pairs[1]))
    return k >= 3 and pairs.shape[1] == k == len(np.unique(pairs[0]))


def _layers(features: int, outputs: int) -> tuple[Dense | ReLU, ...]:
    """One hidden layer, twice as wide as what goes in and out, to the next power of two."""
    units = 2 ** ceil(log2(2 * (features + outputs)))
    return Dense(units=min(max(units, UNITS[0]), UNITS[1])), ReLU()
