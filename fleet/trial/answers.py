"""The answers to learn: the classes of a column, or a column of numbers."""

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources import Samples
from fedge.errors import DataError

MOST_CLASSES = 200
"""The largest number of classes; a column with more different values holds numbers or texts."""
FEW_CLASSES, ROWS_A_CLASS = 20, 3
"""So does a column with more than 20 different values and, on average, fewer than three rows for each."""


def classes_of(samples: Samples, label: str | None) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The class names, numbers in their order and other names by the alphabet, and each row's class.

    Args:
        samples: n rows with answers in `y`.
        label: the column of the answers; None: they come from an archive.

    Returns:
        The names, and an index of them of shape (n,); -1: the row has no class.

    Raises:
        DataError: there are fewer than two classes.
    """
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
    index_of = {name: i for i, name in enumerate(sorted({name for name in names if name}, key=_order))}
    found = np.array([index_of.get(name, -1) for name in names], np.int64)[inverse.reshape(-1)]
    if samples.unanswered is not None:
        found[samples.unanswered] = -1
    classes, rows = tuple(index_of), int((found >= 0).sum())
    if not rows:
        raise DataError(f"{samples.name}: {called} is empty in every row")
    if len(classes) == 1:
        raise DataError(
            f"{samples.name}: {called} is {classes[0]!r} in all {rows} rows: there is nothing to tell apart; "
            "add rows of another class, or choose another column"
        )
    if len(classes) > MOST_CLASSES or (len(classes) > FEW_CLASSES and ROWS_A_CLASS * len(classes) > rows):
        raise DataError(
            f"{samples.name}: {called} has {len(classes)} different values in {rows} rows, too many for "
            "classes; for a number to predict use --regression"
        )
    return classes, found


def _order(name: str) -> tuple[int, int, str]:
    return (0, int(name), name) if re.fullmatch(r"-?\d{1,18}", name) else (1, 0, name)


def target_of(samples: Samples, columns: tuple[str, ...], name: str) -> str:
    """The target's name, after a check of its column.

    Raises:
        DataError: there is no such column, it holds other values than numbers, or all are the same.
    """
    j = columns.index(name) if name in columns else None
    if j is None:  # an archive's `y`, which has no name of its own: it is called as the user says
        if samples.y is None or samples.y.dtype.kind not in "fiu" or samples.y.size != len(samples.X):
            raise DataError(
                f"{samples.name}: there is no column {name!r}, and y does not hold a number for each row"
            )
        return name
    if (fault := samples.faults.get(j)) is not None:
        raise DataError(f"{fault.text}; for classes: --label {name}")
    values: NDArray[Any] = samples.X[:, j]
    present = values[np.isfinite(values)]
    if not len(present):
        raise DataError(f"{samples.name}: column {name!r} is empty in every row")
    if present.min() == present.max():
        raise DataError(
            f"{samples.name}: column {name!r} is {present[0]:g} in every row: there is nothing to predict; "
            "choose another column"
        )
    return name
