"""The figure that models are compared by: the accuracy of a classification, the RMSE of a regression."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.wire.messages.task import Task


@dataclass(frozen=True)
class Figure:
    """A score of a model's outputs, as one number."""

    name: str
    """In JSON."""
    title: str
    """The heading of its column in tables."""
    more_is_better: bool

    def of(self, outputs: NDArray[Any], truth: NDArray[Any]) -> float:
        """The figure of n rows; NaN if there is none.

        Args:
            outputs: of shape (n, k): the classes' probabilities, or the targets in their own units.
            truth: class indices of shape (n,), or targets of shape (n, k).
        """
        if not len(truth):
            return float("nan")
        if self is ACCURACY:
            return float((outputs.argmax(axis=1) == truth).mean())
        errors = outputs.astype(np.float64) - truth.reshape(len(outputs), -1)
        return float(np.sqrt(np.square(errors).mean()))

    def shown(self, value: float) -> str:
        """The figure as people read it: `87.5%`, or `22.1` in the target's unit.

        >>> ACCURACY.shown(0.875), RMSE.shown(22.1375)
        ('87.5%', '22.14')
        """
        if value != value:
            return "–"
        return f"{value:.1%}" if self is ACCURACY else f"{value:.4g}"


ACCURACY = Figure("accuracy", "accuracy", more_is_better=True)
RMSE = Figure("rmse", "RMSE", more_is_better=False)


def figure_of(task: Task) -> Figure:
    """The figure that models of this task are compared by."""
    return ACCURACY if task.classes else RMSE
