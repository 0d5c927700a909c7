"""Scores of answers: by class for a classification, by target and in its own unit for a regression."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNANSWERED = -1
"""The entry of `predicted` where a model has no answer, because it computed no number."""


@dataclass(frozen=True)
class Classification:
    """The scores of n answers, each one of k classes."""

    classes: tuple[str, ...]
    accuracy: float
    """The share of rows that got their own class; a row without an answer did not."""
    confusion: NDArray[np.int64]
    """Shape (k, k): row i, column j counts rows of class i that were predicted as class j."""
    precision: tuple[float | None, ...]
    """By class: the share of the rows predicted as it that belong to it; None: no row was predicted as it."""
    recall: tuple[float | None, ...]
    """By class: the share of its rows that were predicted as it; None: the class has no row."""
    counts: tuple[int, ...]
    """By class: the number of its rows."""
    unanswered: int
    """Rows without an answer, which are in `counts` but not in `confusion`."""


@dataclass(frozen=True)
class Regression:
    """The scores of n answers of t numbers each; every figure is in its target's own unit."""

    targets: tuple[str, ...]
    rmse: tuple[float, ...]
    """By target: the root of the mean squared error."""
    mae: tuple[float, ...]
    """By target: the mean absolute error."""
    rmse_mean: tuple[float, ...]
    """By target: the RMSE of always answering these rows' own mean, which no constant answer can beat."""
    rows: int
    """The number of rows with an answer, which the figures describe."""
    unanswered: int
    """The number of rows without an answer, which do not count."""


def classification(truth: NDArray[Any], predicted: NDArray[Any], classes: tuple[str, ...]) -> Classification:
    """Score answers of a classification.

    Args:
        truth: class indices of shape (n,), n at least 1.
        predicted: class indices of shape (n,); `UNANSWERED` where there is no answer.
        classes: the names of the k classes.

    Raises:
        ValueError: there are no rows, the shapes differ, or an index is none of the classes'.
    """
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.ndim != 1 or truth.shape != predicted.shape or not len(truth):
        raise ValueError(f"expected two arrays of shape (n,), got {truth.shape} and {predicted.shape}")
    k = len(classes)
    if truth.min() < 0 or truth.max() >= k or predicted.min() < UNANSWERED or predicted.max() >= k:
        raise ValueError(f"an index is none of the {k} classes'")
    answered = predicted != UNANSWERED
    pairs = truth[answered].astype(np.int64) * k + predicted[answered].astype(np.int64)
    confusion = np.bincount(pairs, minlength=k * k).reshape(k, k).astype(np.int64)
    right, taken = np.diagonal(confusion), confusion.sum(axis=0)
    counts = np.bincount(truth.astype(np.int64), minlength=k)
    return Classification(
        classes=classes,
        accuracy=float(right.sum() / len(truth)),
        confusion=confusion,
        precision=_parts(right, taken),
        recall=_parts(right, counts),
        counts=tuple(int(count) for count in counts),
        unanswered=int(len(truth) - answered.sum()),
    )


def regression(truth: NDArray[Any], predicted: NDArray[Any], targets: tuple[str, ...]) -> Regression:
    """Score answers of a regression.

    Args:
        truth: finite numbers of shape (n, t).
        predicted: numbers of shape (n, t); a row that holds one that is not finite has no answer.
        targets: the names of the t targets.

    Raises:
        ValueError: no row has an answer, a shape is not (n, t), or `truth` is not finite.
    """
    truth, predicted = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    if truth.ndim != 2 or truth.shape != predicted.shape or truth.shape[1] != len(targets):
        raise ValueError(
            f"expected two arrays of shape (n, {len(targets)}), got {truth.shape} and {predicted.shape}"
        )
    if not np.isfinite(truth).all():
        raise ValueError("the true values must be finite")
    answered = np.isfinite(predicted).all(axis=1)
    if not answered.any():
        raise ValueError("no row has an answer")
    right = truth[answered]
    error = predicted[answered] - right
    return Regression(
        targets=targets,
        rmse=_floats(_rms(error)),
        mae=_floats(np.abs(error).mean(axis=0)),
        rmse_mean=_floats(_rms(right - right.mean(axis=0))),
        rows=len(right),
        unanswered=int(len(truth) - len(right)),
    )


def _rms(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The root mean square of each column, (n, t) -> (t,), also where squares would overflow."""
    largest = np.abs(values).max(axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    return np.asarray(scale * np.sqrt(np.mean((values / scale) ** 2, axis=0)))


def _parts(of: NDArray[Any], all_of: NDArray[Any]) -> tuple[float | None, ...]:
    return tuple(int(a) / int(n) if n else None for a, n in zip(of, all_of, strict=True))


def _floats(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
