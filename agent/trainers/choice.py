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
    """Whether a device chooses among several models, and so needs rows to choose by."""
    if plan is None:
        return False
    if plan.compare:
        return True
    if plan.personal is None:
        return False
    part = PERSONAL.make(plan.personal, plan.personal_options)
    return bool(part.chosen or part.models > 1)


def choose(network: Network, candidates: Sequence[Candidate], X: Array, y: Array) -> Candidate:
    """Return the candidate with the best score on the rows to choose by; of equal ones the first.

    The score of a classifier is its accuracy, and among equal ones the loss; that of a regression is the
    loss. A model whose loss is not finite is not chosen while another one's is.

    Args:
        network: the task's network.
        candidates: the models, at least one, the one to prefer first.
        X: raw samples of shape (c, d), c ≥ 1.
        y: their raw targets.
    """

    def score(candidate: Candidate) -> tuple[bool, float, float]:
        with np.errstate(over="ignore", invalid="ignore"):
            found = network.evaluate(candidate[1], X, y)
        finite = bool(np.isfinite(found.loss))
        loss = found.loss if finite else 0.0
        return (not finite, 0.0 if found.accuracy is None else -found.accuracy, loss)

    return min(candidates, key=score)
