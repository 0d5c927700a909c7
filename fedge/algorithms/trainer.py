"""What the agent needs of whoever trains on its device: `Trainer`.

`agent.trainers.built_in.BuiltIn` is the one that comes with the agent: it runs
the plan's local algorithm. The owner of a device chooses, never the federation: it sends
data, a model and a plan, and cannot name code.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.plan import Plan
from fedge.data.disclosure import Public, public
from fedge.nn import Network

Array = NDArray[Any]


class Diverged(Exception):  # noqa: N818 (what happened, as the runtime reports it)
    """The loss or the weights are no longer finite; the text says after how many steps, and what to do.

    Args:
        what: what happened.
        remedy: what to do about it, if nothing more is known.
    """

    def __init__(self, what: Public, remedy: Public) -> None:
        self.public = public("{what}: {remedy}", what=what, remedy=remedy)
        """The text: it may be told to others."""
        super().__init__(self.public)
        self.what = what


class Cancelled(Exception):  # noqa: N818 (what happened, as the runtime reports it)
    """Training was asked to stop; what it had learnt is dropped."""


@dataclass(frozen=True)
class Job:
    """One round's training on this device. Its arrays are not to be changed."""

    network: Network
    """What is trained: p parameters in one flat vector."""
    received: Mapping[str, Array]
    """The announced model: `weights`, of shape (p,), float32, and the further vectors of the algorithm."""
    X: Array
    """The training part of the device's samples, prepared for the network, of shape (n, d), n ≥ 1."""
    y: Array
    """Their prepared targets, n of them."""
    plan: Plan
    """Epochs, batch size, learning rate and more, within the owner's limits."""
    rng: "np.random.Generator"
    """For all that is random: seeded by round and device, so that the same job gives the same weights."""
    state: Mapping[str, Array] = field(default_factory=dict)
    """What the algorithm remembers of this device's last admitted round; at first that of its `init`."""

    @property
    def weights(self) -> Array:
        """The weights of the announced model, of shape (p,), float32."""
        return self.received["weights"]


@dataclass(frozen=True)
class Trained:
    """What local training leads to."""

    vectors: Mapping[str, Array]
    """The new `weights`, of shape (p,), and what else the algorithm sends."""
    steps: int
    """How many times the weights were changed."""
    loss_before: float
    """Mean over the training samples, at the weights that training began from."""
    loss_after: float
    """Mean over the training samples, at the new weights."""
    state: Mapping[str, Array] = field(default_factory=dict)
    """What is to be remembered if the update is admitted."""

    @property
    def vector(self) -> Array:
        """The new weights, of shape (p,)."""
        return self.vectors["weights"]


class Trainer(Protocol):
    """Trains, one job after the other, on a thread of its own."""

    def work(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """Train from `job.weights` on all n samples.

        Args:
            job: what to train on what.
            cancelled: ask it before each step, and at least once in `[trainer] patience_s`: the question is
                the sign of life that the watchdog waits for. It keeps the owner's `[limits] seconds`: what
                it raises is not to be caught.

        Returns:
            Finite weights of shape (p,), whose difference from `job.weights` counts n times in the mean.

        Raises:
            Cancelled: `cancelled` said yes; nobody waits for the outcome any more.
            Diverged: the loss or the weights are not finite; the text is told to the federation.
            Exception: anything else declines the round too. Its text stays in the device's own log.
        """
