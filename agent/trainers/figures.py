"""Evaluate a model on a device's held-out rows."""

from math import isfinite

import numpy as np
from numpy.typing import NDArray

from agent.data.dataset import Dataset
from fedge.nn import Network


def measured(network: Network, vector: NDArray[np.float32], dataset: Dataset, when: str) -> dict[str, float]:
    """Return the metrics of weights of shape (p,) on the held-out rows, of which there must be at least one.

    Each metric's name ends with `when`: "before" or "after" the training.
    """
    found = network.evaluate(vector, dataset.held_X, dataset.held_y)
    metrics = {f"held_loss_{when}": found.loss}
    if found.accuracy is not None:
        metrics[f"accuracy_{when}"] = found.accuracy
    if found.errors is not None:
        metrics[f"rmse_{when}"] = found.errors.rmse
        metrics[f"mae_{when}"] = found.errors.mae
    return metrics


def finite(metrics: dict[str, float]) -> dict[str, float]:
    """Return the metrics that are finite; the device reports no others."""
    return {name: value for name, value in metrics.items() if isfinite(value)}
