"""Worker momentum over rounds: a device sends the running mean of its changes.

Karimireddy, He and Jaggi 2021, "Learning from History for Byzantine Robust Optimization", ICML,
https://arxiv.org/abs/2012.10333, Algorithm 1, with a round's change in place of a gradient. A device trains
as `sgd` does, from the announced model w to w_i. Its momentum m is its state:

    m ← w_i - w                        in its first round
    m ← β m + (1 - β) (w_i - w)        in each later one;    it sends w + m.

So the changes of honest devices differ less from round to round, and a rule that looks at distances, such as
`centered-clipping`, can tell them from a liar's. It works with each rule that takes the weights of `sgd`. The
momentum counts the rounds of this device alone: a device that seldom takes part sends old changes.

m is kept in float32, and rounded once in each round. If an update is refused, its momentum is dropped, too.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.local.descent import rounded, train_job
from fedge.algorithms.protocols import LocalAlgorithm
from fedge.algorithms.registry import Entry, Options
from fedge.algorithms.trainer import Job, Trained

MOMENTUM, BEGUN = "momentum", "begun"
"""The names of the state: m, and whether there is one, 0 or 1."""


class MomentumOptions(Options):
    """How much of the momentum stays."""

    beta: float = Field(default=0.9, ge=0, lt=1, allow_inf_nan=False)
    """β: the part of the last momentum that a round keeps; 0 is `sgd`, but for rounding."""


class Momentum(LocalAlgorithm):
    """Sends the running mean of this device's changes, of shape (p,), which is its state."""

    receives: ClassVar[tuple[str, ...]] = ()
    sends: ClassVar[tuple[str, ...]] = ()
    memory: ClassVar[float] = 2.0

    def __init__(self, options: MomentumOptions) -> None:
        self._beta = options.beta

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """No momentum yet."""
        return {MOMENTUM: np.zeros(size, np.float32), BEGUN: np.zeros(1, np.int8)}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """Take the plan's steps, and send the announced weights plus the momentum."""
        trained = train_job(job, cancelled)
        start, end, before = job.weights, trained.vector, job.state[MOMENTUM]
        beta = self._beta if job.state[BEGUN][0] else 0.0
        rate, kind = job.plan.learning_rate, job.network.dtype

        def mixed(place: slice) -> NDArray[Any]:
            change = np.subtract(end[place], start[place], dtype=np.float64)
            return beta * before[place].astype(np.float64) + (1 - beta) * change

        momentum = rounded(mixed, len(end), kind, rate)
        sent = rounded(lambda place: momentum[place].astype(np.float64) + start[place], len(end), kind, rate)
        return replace(
            trained,
            vectors={"weights": sent},
            state={MOMENTUM: momentum, BEGUN: np.ones(1, np.int8)},
            model=end,
        )


ENTRY = Entry("local", "momentum", Momentum, MomentumOptions)
