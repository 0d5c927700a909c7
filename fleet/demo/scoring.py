"""Score the shared model on the held-out parts of a fleet, class by class, and count who has each class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.data.scores import classification


@dataclass(frozen=True)
class ClassRow:
    """One class over the held-out parts of all devices."""

    name: str
    training: int
    """The number of training rows."""
    rows: int
    """The number of held-out rows."""
    devices: int
    """Devices whose held-out part has it."""
    trained: int
    """Devices whose training part has it; 0: the model has never seen it."""
    recall: float | None
    """The share of its rows that were taken for it; None: there are none."""
    precision: float | None
    """The share of the rows taken for it that belong to it; None: there are none."""
    mistaken_for: str | None
    """The class for which its rows are most often mistaken; None: there is no mistake."""
    mistaken: int
    """The number of these mistakes."""


def by_class(
    classes: tuple[str, ...],
    training: Mapping[str, NDArray[Any]],
    held_out: Mapping[str, NDArray[Any]],
    predicted: NDArray[Any],
) -> tuple[ClassRow, ...]:
    """Score a model class by class, in the order of `classes`.

    Args:
        classes: their names.
        training: by device, the class indices of its training part.
        held_out: by device, those of its held-out part; h rows of all devices together.
        predicted: the model's answers to the h rows, of shape (h,), the devices' parts one after another in
            the order of `held_out`; -1: no answer.

    Raises:
        ValueError: nothing is held out, a shape differs, or an index is none of the classes'.
    """
    scores = classification(np.concatenate(list(held_out.values())), predicted, classes)
    wrong = scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    return tuple(
        ClassRow(
            name=name,
            training=sum(int((y == i).sum()) for y in training.values()),
            rows=scores.counts[i],
            devices=sum(i in y for y in held_out.values()),
            trained=sum(i in y for y in training.values()),
            recall=scores.recall[i],
            precision=scores.precision[i],
            mistaken_for=classes[int(wrong[i].argmax())] if wrong[i].any() else None,
            mistaken=int(wrong[i].max()),
        )
        for i, name in enumerate(classes)
    )
