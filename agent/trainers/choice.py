"""Which of its models a device uses: chosen by rows that are neither trained on nor reported. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.core.state import ALONE
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import PERSONAL
from fedge.nn import Network

Array = NDArray[Any]
Candidate = tuple[int, Array]
"""A model to choose, as in `agent.core.state`, and its weights, of shape (p,)."""

MARGIN = 2.0
"""By how many standard errors a model must be better than the one alone. With one, on the watch data of the
demo, a device of twenty was worse off than alone by more than a row."""


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
    """Return the model to use, by the loss on the rows to choose by.

    Without a model alone it is the one with the least mean loss, of equal ones the first. A model alone stays
    in use unless another one's mean loss is lower by more than `MARGIN` standard errors of the paired
    differences: the rows are few, and no device shall be worse off than alone. Of several such models the one
    with the least loss is used. A model whose loss is not finite is not used while another one's is.

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
    alone = next((losses for (kind, _), losses in finite if kind == ALONE), None)
    if alone is not None:
        better = [(each, losses) for each, losses in finite if _is_lower(losses, alone)]
        finite = better or [(each, losses) for each, losses in finite if each[0] == ALONE]
    return min(finite, key=lambda found: float(found[1].mean()))[0]


def _is_lower(losses: Array, than: Array) -> bool:
    """Whether losses of shape (c,) are lower on average, by more than chance explains."""
    difference = than - losses
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return bool(difference.mean() > MARGIN * error)
