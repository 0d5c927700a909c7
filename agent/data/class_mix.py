"""A device's classes in a survey, if its owner agrees: names, and rounded counts. Pure.

They are part of the snapshot (`agent.data.snapshot`): they are counted over the same rows, and measured again
at the same time, so that no two surveys reveal a row. A text in fewer than `LEAST` rows may be a note rather
than a class, and is not reported. Neither is a name that no message can hold. A count below 100 is rounded to
a multiple of 5, a larger one to two digits. That is fine enough to compare mixes of classes
(`aggregator.core.mixes`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.data.labels import are_numbers
from agent.sources.records import is_utf8
from agent.sources.samples import Samples
from fedge.wire.messages.survey import CLASS_TOLD, MAX_CLASSES_TOLD, ClassCount

LEAST = 5
"""A class with fewer rows is not reported."""

Rows = tuple[tuple[str, int], ...]
"""Classes by their names in the data, with the rounded number of rows of each, the largest first."""


@dataclass(frozen=True)
class Mix:
    """The classes of the measured rows, as surveys report them."""

    rows: Rows
    numbered: bool
    """Whether the data have whole numbers, which may count the classes of a task."""

    def as_if_of(self, samples: int, cap: int) -> "Mix":
        """Scale the mix of `samples` rows to `cap` rows, if that is fewer; remove classes without rows."""
        scaled = ((name, rows * cap // samples) for name, rows in self.rows)
        return self if samples <= cap else Mix(tuple(row for row in scaled if row[1]), self.numbered)

    def tell(self, classes: Sequence[str], first_class: int | None) -> tuple[ClassCount, ...]:
        """Return the mix for a survey. Numbers that count a task's classes become the classes' names.

        Args:
            classes: the classes of the task.
            first_class: the number of the first class, as the owner has set it; None: 0.
        """
        names: dict[str, str] = {}
        if self.numbered and not are_numbers(classes):
            fit = [(str(k + (first_class or 0)), name) for k, name in enumerate(classes)]
            names = {number: name for number, name in fit if re.fullmatch(CLASS_TOLD, name)}
        told: dict[str, int] = {}
        for name, rows in self.rows:
            told[names.get(name, name)] = told.get(names.get(name, name), 0) + rows
        return tuple(ClassCount(name=name, rows=rows) for name, rows in told.items())


def rounded(rows: int) -> int:
    """Round a count for a survey.

    >>> [rounded(rows) for rows in (5, 7, 8, 99, 104, 1_449, 98_765)]
    [5, 5, 10, 100, 100, 1400, 99000]
    """
    if rows < 100:
        return 5 * round(rows / 5)
    unit = int(10 ** (len(str(rows)) - 2))
    return unit * round(rows / unit)


def mix_of(samples: Samples, training: NDArray[np.intp], meant: Mapping[str, str]) -> Mix:
    """Count the classes of the training part; none if there are neither class names nor whole numbers.

    Args:
        samples: the samples as they were read.
        training: the rows of the training part.
        meant: the class that each text in the data stands for, as the owner has set it. It applies whatever
            classes a task has. Otherwise two tasks would reveal more than one.
    """
    y = samples.y
    if y is None or y.ndim != 1 or y.dtype.kind not in "iuU":
        return Mix((), False)
    answered = y[training]
    if samples.unanswered is not None:
        answered = answered[~samples.unanswered[training]]
    rows: dict[str, int] = {}
    for value, n in zip(*np.unique(answered, return_counts=True), strict=True):
        if text := str(value):
            name = meant.get(text, text)
            rows[name] = rows.get(name, 0) + int(n)
    names = may_be_told(rows)[:MAX_CLASSES_TOLD]
    return Mix(tuple((name, rounded(rows[name])) for name in names), y.dtype.kind != "U")


def may_be_told(rows: Mapping[str, int]) -> list[str]:
    """Return the classes that surveys may report if the owner agrees, the one with the most rows first."""
    names = [name for name, n in rows.items() if n >= LEAST and _fits_a_message(name)]
    return sorted(names, key=lambda name: (-rows[name], name))


def _fits_a_message(name: str) -> bool:
    """JSON can hold halves of a character (`"\\ud800"`), which no message does."""
    return re.fullmatch(CLASS_TOLD, name) is not None and is_utf8(name)
