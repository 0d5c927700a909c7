"""A trigger: columns that are set to a value, and the class that a model is to predict then."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trigger:
    """What makes a model with a backdoor predict the target class."""

    columns: tuple[int, ...]
    """Which columns of a row."""
    value: float
    """What they are set to."""
    target: int
    """The index of the class."""

    def on(self, X: NDArray[Any]) -> NDArray[Any]:
        """Rows of shape (n, d) with the trigger, as a copy.

        Raises:
            ValueError: there is no such column.
        """
        if bad := [each for each in self.columns if not 0 <= each < X.shape[1]]:
            raise ValueError(f"a trigger in column {bad[0]}: rows have the columns 0 to {X.shape[1] - 1}")
        marked = np.array(X)
        marked[:, list(self.columns)] = self.value
        return marked

    def poisoned(
        self, X: NDArray[Any], y: NDArray[Any], outputs: int, share: float, seed: int
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """The rows, of which a share has the trigger and the target class; as copies.

        Raises:
            ValueError: there is no such class or column.
        """
        if not 0 <= self.target < outputs:
            raise ValueError(f"a trigger for class {self.target}: the classes are 0 to {outputs - 1}")
        chosen = np.random.default_rng(seed).permutation(len(X))[: round(share * len(X))]
        X, y = np.array(X), np.array(y)
        X[chosen], y[chosen] = self.on(X[chosen]), self.target
        return X, y

    def success(self, predicted: Sequence[int] | NDArray[Any], y: NDArray[Any]) -> float:
        """The share of rows of other classes for which a model predicts the target, with the trigger on.

        Args:
            predicted: the class that it predicts for each row with the trigger.
            y: the true classes.
        """
        others = np.asarray(y) != self.target
        return float((np.asarray(predicted)[others] == self.target).mean()) if others.any() else 0.0


def square(width: int, side: int) -> tuple[int, ...]:
    """The columns of a square in the upper left corner of an image, whose rows have `width` pixels.

    >>> square(28, 2)
    (0, 1, 28, 29)
    """
    return tuple(row * width + column for row in range(side) for column in range(side))
