"""`Trainer`: the interface of whatever trains on a device.

`agent.trainers.built_in.BuiltIn` comes with the agent and runs the plan's local algorithm. Only the owner of
a device chooses the trainer. The federation sends data, a model and a plan; it cannot name code.
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
        remedy: what the owner or operator should do.
    """

    def __init__(self, what: Public, remedy: Public) -> None:
        self.public = public("{what}: {remedy}", what=what, remedy=remedy)
        """The text; it may leave the device."""
        super().__init__(self.public)
        self.what = what


class Cancelled(Exception):  # noqa: N818 (what happened, as the runtime reports it)
    """Training was cancelled; its result is dropped."""


def never() -> bool:
    """Return False: the answer where nobody ends training."""
    return False


@dataclass(frozen=True)
class Job:
    """One round's training on this device. Do not change its arrays."""

    network: Network
    """The network to train: p parameters in one flat vector."""
    received: Mapping[str, Array]
    """The announced model: `weights`, of shape (p,), float32, and the further vectors of the algorithm."""
    X: Array
    """The training part of the device's samples, prepared for the network, of shape (n, d), n ≥ 1."""
    y: Array
    """Their prepared targets, n of them."""
    plan: Plan
    """Epochs, batch size, learning rate and more, within the owner's limits."""
    rng: "np.random.Generator"
    """The source of all randomness, seeded by round and device: the same job gives the same weights."""
    state: Mapping[str, Array] = field(default_factory=dict)
    """The algorithm's state after this device's last admitted round; at first that of `init`."""
    enough: Callable[[], bool] = never
    """Asked before each step but the first: whether to stop here and return what is done. Only an algorithm
    with `partial` may use it."""

    @property
    def weights(self) -> Array:
        """The weights of the announced model, of shape (p,), float32."""
        return self.received["weights"]


@dataclass(frozen=True)
class Trained:
    """The result of local training."""

    vectors: Mapping[str, Array]
    """The new `weights`, of shape (p,), and the further vectors that the algorithm sends."""
    steps: int
    """The number of steps taken."""
    loss_before: float
    """The mean loss over the training samples, before training."""
    loss_after: float
    """The mean loss over the training samples, at the new weights."""
    state: Mapping[str, Array] = field(default_factory=dict)
    """The next state, which becomes current if the update is admitted."""
    model: Array | None = None
    """The weights that training ended with, of shape (p,), if the `weights` that are sent are others."""

    @property
    def vector(self) -> Array:
        """The weights that training ended with, of shape (p,)."""
        return self.vectors["weights"] if self.model is None else self.model


class Trainer(Protocol):
    """Trains, one job after another, on a thread of its own.

    Some local algorithms have a half on the server: their entry needs a certain rule or server optimizer, as
    that of `nova` does. A trainer takes part in such a round only if its attribute `algorithms` lists the
    algorithm's name, and then has to return what that algorithm returns. Otherwise the device declines.
    """

    def work(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """Train from `job.weights` on all n samples.

        Args:
            job: network, data and plan.
            cancelled: call it before each step, and at least once in `[trainer] patience_s`: the watchdog
                takes the call as the sign of life. It enforces the owner's `[limits] seconds` by raising;
                do not catch what it raises.

        Returns:
            Finite weights of shape (p,), whose difference from `job.weights` counts as the round's rule says,
            in FedAvg n times; and the further vectors that the plan's algorithm sends.

        Raises:
            Cancelled: `cancelled` returned True; nobody waits for the result any more.
            Diverged: the loss or the weights are not finite; the text is sent to the federation.
            Exception: the device declines the round. The text stays in the device's own log.
        """
