"""Which of its models a device uses: chosen by rows that are neither trained on nor reported. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import PERSONAL
from fedge.nn import Network

Array = NDArray[Any]
Candidate = tuple[int, Array]
"""A model to choose, as in `agent.core.state`, and its weights, of shape (p,)."""


def chooses(plan: Plan | None) -> bool:
    """Whether a device chooses among several models, and so needs rows to choose by.

    With `compare` it does not: the model alone is never used.
    """
    if plan is None or plan.personal is None:
        return False
    part = PERSONAL.make(plan.personal, plan.personal_options)
    return bool(part.chosen or part.models > 1)


def choose(network: Network, candidates: Sequence[Candidate], X: Array, y: Array) -> Candidate:
    """Return the model to use, by the loss on the rows to choose by.

    It is the one with the least mean loss, of equal ones the first. A model whose loss is not finite is not
    used while another one's is.

    Args:
        network: the task's network.
        candidates: the models, at least one, the one to prefer first.
        X: raw samples of shape (c, d), c ≥ 2.
        y: their raw targets.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        measured = [(each, network.losses(each[1], X, y)) for each in candidates]
    finite = [(each, losses) for each, losses in measured if np.isfinite(losses).all()]
    if not finite:
        return candidates[0]
    return min(finite, key=lambda found: float(found[1].mean()))[0]
