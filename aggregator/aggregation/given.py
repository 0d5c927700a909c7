"""A task whose frozen layers are made of the settings, and not of a survey of the devices' rows."""

from collections.abc import Mapping

import numpy as np

from aggregator.aggregation.survey import Measured, Unmeasured, rule_of, standardize
from fedge.data.moments import Moments
from fedge.wire.messages.task import Task

RULE = "given/1"
"""The rule of round 0 in such a generation."""
COUNT = 1_000.0
"""As many rows as the settings count for; only the means and spreads have a meaning."""


def with_columns(task: Task, columns: Mapping[str, tuple[float, float]], clip: float | None) -> Task:
    """The task with its frozen layers, as a survey of one device with these columns would make them.

    Args:
        task: its network has no frozen layers yet.
        columns: mean and spread of each feature and target, by name.
        clip: the bound on standardized inputs, in spreads; None: they are not clipped.
    """
    targets = _moments(task.targets, columns) if task.targets is not None else None
    one = {"settings": Measured(_moments(task.features, columns), targets)}
    found = standardize(task, one, rule_of(clip), clip)
    assert not isinstance(found, Unmeasured)
    return found


def _moments(names: tuple[str, ...], columns: Mapping[str, tuple[float, float]]) -> Moments:
    means, spreads = np.array([columns[name] for name in names], np.float64).T
    return Moments(np.full(len(names), COUNT), means.copy(), COUNT * np.square(spreads))
