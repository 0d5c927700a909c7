"""Huber's location of the updates: a mean in which updates that are far away weigh less.

Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35 (1964), computed by
iteratively reweighted means: an update weighs n_k · min(1, D / ‖w_k - z‖), where z is the last mean and D the
mean distance of the updates from it.
"""

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import Combined, Rule, State, Updates
from fedge.algorithms.registry import Entry, Options


class HuberOptions(Options):
    """The settings of the rule."""

    passes: int = Field(default=8, ge=1, le=100)
    """The number of means after the first one; each takes two passes over the updates."""


class Huber(Rule):
    """Holds one update at a time; sums in float64 in a fixed order give the same bits each time."""

    version = "huber/1"

    def __init__(self, options: HuberOptions) -> None:
        self._passes = options.passes

    def aggregate(self, updates: Updates, base: NDArray[np.float32], state: State) -> Combined:
        counted = {update.device: 1.0 for update in updates.lanes()}
        middle = self._mean(updates, counted)
        for _ in range(self._passes):
            far = {update.device: _distance(update.vector, middle) for update in updates.lanes()}
            usual = sum(far.values()) / len(far)
            counted = {device: min(1.0, usual / d) if d > 0 else 1.0 for device, d in far.items()}
            middle = self._mean(updates, counted)
        return Combined(middle.astype(np.float32), counted)

    def _mean(self, updates: Updates, counted: dict[str, float]) -> NDArray[np.float64]:
        total, weights = np.zeros(updates.size), 0.0
        for update in updates.lanes():
            weight = update.samples * counted[update.device]
            total += weight * update.vector.astype(np.float64)
            weights += weight
        return total / weights


def _distance(a: NDArray[np.floating], b: NDArray[np.float64]) -> float:
    difference = a - b
    return float(np.sqrt(np.sum(difference * difference)))


ENTRY = Entry("rule", "huber", Huber, HuberOptions)
