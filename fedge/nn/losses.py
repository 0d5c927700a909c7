"""Losses, and their derivatives with respect to the network's outputs z, of shape (n, outputs).

A loss works on a fixed number of rows n and owns the buffers it writes into. Its methods compute the *sum*
over rows, so that a mean over many samples can be computed in blocks.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]


class Loss(Protocol):
    """A loss for a fixed number of rows."""

    def total(self, z: Array, y: Array) -> float:
        """Return the loss of outputs z given targets y, summed over rows."""
        ...

    def each(self, z: Array, y: Array) -> NDArray[np.float64]:
        """Return the loss of each row, of shape (n,)."""
        ...

    def gradient(self, z: Array, y: Array, scale: float) -> Array:
        """Return scale · ∂total/∂z, of shape (n, outputs), in a buffer that the next call overwrites."""
        ...


class CrossEntropy:
    """L = log Σⱼ exp zⱼ - z_y: the negative log-likelihood of class y under softmax z, with y of shape (n,).

    ∂L/∂zⱼ = softmax(z)ⱼ - [j = y] (Bridle 1990, "Probabilistic Interpretation of Feedforward Classification
    Network Outputs", Neurocomputing, NATO ASI 68). Each row's largest output is subtracted first, which does
    not change the result and prevents overflow.
    """

    def __init__(self, rows: int, outputs: int, dtype: DTypeLike) -> None:
        self._delta: Array = np.empty((rows, outputs), dtype)
        self._sums: Array = np.empty((rows, 1), dtype)
        self._ones: Array = np.ones((outputs, 1), dtype)
        self._row_starts = np.arange(rows, dtype=np.intp) * outputs
        self._at = np.empty(rows, np.intp)
        self._column = np.empty(rows, np.intp)
        self._of_row: Array = np.empty(rows, dtype)
        self._of_row_column = self._of_row.reshape(rows, 1)
        self._scale: Array = np.empty((), dtype)

    def total(self, z: Array, y: Array) -> float:
        """Return ΣL."""
        shifted = self._shift(z)
        shifted.take(self._locate(y), None, self._of_row, "clip")
        np.exp(shifted, shifted)
        sums = shifted.dot(self._ones, self._sums)
        np.log(sums, sums)
        return float(np.sum(sums, dtype=np.float64) - np.sum(self._of_row, dtype=np.float64))

    def each(self, z: Array, y: Array) -> NDArray[np.float64]:
        """Return L of each row."""
        shifted = z.astype(np.float64) - z.max(axis=1, keepdims=True)
        found: NDArray[np.float64] = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]
        return found

    def gradient(self, z: Array, y: Array, scale: float) -> Array:
        """Return scale · ∂ΣL/∂z."""
        divide, of_row, factor = np.divide, self._of_row, self._scale
        factor.fill(scale)
        delta = self._shift(z)
        np.exp(delta, delta)
        sums = delta.dot(self._ones, self._sums)
        divide(sums, factor, sums)
        divide(delta, sums, delta)
        # Only one entry a row differs from scale · softmax; changing it costs less than a one-hot matrix.
        at = np.add(self._row_starts, y, self._at)
        delta.take(at, None, of_row, "clip")
        np.subtract(of_row, factor, of_row)
        delta.put(at, of_row, "clip")
        return delta

    def _shift(self, z: Array) -> Array:
        # For few columns argmax and take cost less than half of a reduction.
        largest = self._locate(z.argmax(1, self._column))
        z.take(largest, None, self._of_row, "clip")
        return np.subtract(z, self._of_row_column, self._delta)

    def _locate(self, y: Array) -> NDArray[np.intp]:
        return np.add(self._row_starts, y, self._at)


class MeanSquaredError:
    """L = 1/t Σⱼ (zⱼ - yⱼ)² over the t targets, with y of shape (n, t); ∂L/∂zⱼ = 2/t (zⱼ - yⱼ).

    There is no factor ½ as in some texts: this is the mean squared error of its name.
    """

    def __init__(self, rows: int, outputs: int, dtype: DTypeLike) -> None:
        self._delta: Array = np.empty((rows, outputs), dtype)
        self._targets = outputs

    def total(self, z: Array, y: Array) -> float:
        """Return ΣL."""
        delta = np.subtract(z, y, self._delta)
        np.multiply(delta, delta, delta)
        return float(np.sum(delta, dtype=np.float64)) / self._targets

    def each(self, z: Array, y: Array) -> NDArray[np.float64]:
        """Return L of each row."""
        found: NDArray[np.float64] = np.square(np.subtract(z, y, dtype=np.float64)).mean(axis=1)
        return found

    def gradient(self, z: Array, y: Array, scale: float) -> Array:
        """Return scale · ∂ΣL/∂z."""
        delta = np.subtract(z, y, self._delta)
        return np.multiply(delta, 2 * scale / self._targets, delta)


LOSSES: dict[str, type[CrossEntropy] | type[MeanSquaredError]] = {
    "cross-entropy": CrossEntropy,
    "mse": MeanSquaredError,
}


def softmax(z: Array) -> Array:
    """Return the class probabilities of logits z, both of shape (n, classes), as a new array."""
    p: Array = np.subtract(z, np.max(z, axis=1, keepdims=True))
    np.exp(p, p)
    np.divide(p, np.sum(p, axis=1, keepdims=True), p)
    return p
