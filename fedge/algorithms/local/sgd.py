"""Stochastic gradient descent with momentum and weight decay: the client's part of FedAvg and FedSGD.

McMahan, Moore, Ramage, Hampson, y Arcas 2017, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", AISTATS, Algorithm 1, ClientUpdate. Momentum: Polyak 1964, "Some methods of speeding up
the convergence of iteration methods", USSR Computational Mathematics and Mathematical Physics 4(5).
"""

from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import LocalAlgorithm
from fedge.algorithms.registry import Entry
from fedge.algorithms.trainer import Cancelled, Diverged, Job, Trained
from fedge.data.disclosure import public
from fedge.nn import Network

Array = NDArray[Any]


def never() -> bool:
    """Return False: for training that nobody cancels."""
    return False


def train(
    network: Network,
    w: Array,
    X: Array,
    y: Array,
    plan: Plan,
    rng: "np.random.Generator",
    cancelled: Callable[[], bool] = never,
) -> Trained:
    """Train `plan.epochs` epochs from w, of shape (p,), which is not changed.

    A step with the mean gradient g of a batch is v ← μ v + g + λ w, w ← w - α v, and v begins at 0.

    Args:
        network: the network to train.
        w: the weights to start from.
        X: prepared samples, of shape (n, d), n ≥ 1.
        y: prepared targets of these samples.
        plan: epochs, batch size, α, μ, λ.
        rng: shuffles the samples anew in each epoch; not used when one batch holds them all.
        cancelled: called before each step.

    Raises:
        Diverged: the loss or the weights are not finite.
        Cancelled: `cancelled` returned True.
        ValueError: there are no samples, or not one target for each.
    """
    if len(X) != len(y) or len(X) == 0:
        raise ValueError(f"expected at least one sample and a target for each, got {len(X)} and {len(y)}")
    vector = np.array(w, network.dtype)
    with np.errstate(all="ignore"):  # infinities and NaN are checked for here and after each epoch
        loss_before = network.loss(vector, X, y)
        if not isfinite(loss_before):
            raise Diverged(
                public("the loss is {before:g} before the first step", before=loss_before),
                public(
                    "the model is bad, or samples are out of range here; the learning rate is not to blame"
                ),
            )
        steps = descend(network, vector, X, y, plan, rng, cancelled)
        loss_after = network.loss(vector, X, y)
    if not isfinite(loss_after):
        raise Diverged(
            public(
                "the loss went from {before:g} to {after:g} in {steps} steps",
                before=loss_before,
                after=loss_after,
                steps=steps,
            ),
            public("lower the learning rate {rate:g}", rate=plan.learning_rate),
        )
    return Trained({"weights": vector}, steps, loss_before, loss_after)


def descend(
    network: Network,
    vector: Array,
    X: Array,
    y: Array,
    plan: Plan,
    rng: "np.random.Generator",
    cancelled: Callable[[], bool] = never,
) -> int:
    """Take the steps of `train` on `vector`, in place; return their number.

    Raises:
        Diverged: after an epoch the weights are not finite.
        Cancelled: `cancelled` returned True.
    """
    rate, steps = plan.learning_rate, 0
    # This keeps α v, which a step subtracts as it is: α v ← μ (α v) + α g + α λ w.
    velocity = np.zeros_like(vector) if plan.momentum else None
    decay = np.empty_like(vector) if plan.weight_decay else None
    for _ in range(plan.epochs):
        for X_batch, y_batch in batches(X, y, plan.batch_size, rng):
            if cancelled():
                raise Cancelled(f"cancelled after {steps} steps")
            for place, change in network.gradients(vector, X_batch, y_batch, rate):
                part = vector[place]
                if decay is not None:
                    np.multiply(part, rate * plan.weight_decay, decay[place])
                    np.add(change, decay[place], change)
                if velocity is not None:
                    momentum = velocity[place]
                    np.multiply(momentum, plan.momentum, momentum)
                    change = np.add(momentum, change, momentum)
                np.subtract(part, change, part)
            steps += 1
        if not np.isfinite(vector).all():
            raise Diverged(
                public("weights are not finite after {steps} steps", steps=steps),
                public("lower the learning rate {rate:g}", rate=rate),
            )
    return steps


def batches(X: Array, y: Array, size: int, rng: "np.random.Generator") -> Iterator[tuple[Array, Array]]:
    """Yield one epoch's batches: a random order cut into pieces of `size` rows, the last may be shorter.

    All batches use the same buffer. If one batch holds all samples (`size` 0, or at least n), it is X and y
    themselves, in their own order.
    """
    samples = len(X)
    if size == 0 or size >= samples:
        yield X, y
        return
    order = rng.permutation(samples)
    X_batch, y_batch = np.empty((size, *X.shape[1:]), X.dtype), np.empty((size, *y.shape[1:]), y.dtype)
    for start in range(0, samples - size + 1, size):
        rows = order[start : start + size]
        # only mode "clip" writes to `out` without a temporary buffer
        yield X.take(rows, 0, X_batch, "clip"), y.take(rows, 0, y_batch, "clip")
    if rest := samples % size:
        yield X[order[-rest:]], y[order[-rest:]]


class Sgd(LocalAlgorithm):
    """Stochastic gradient descent with momentum and weight decay, by the plan's keys; no state."""

    receives: ClassVar[tuple[str, ...]] = ()
    sends: ClassVar[tuple[str, ...]] = ()

    def init(self, size: int) -> dict[str, Array]:
        """No state."""
        return {}

    def run(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """As `train`."""
        return train(job.network, job.weights, job.X, job.y, job.plan, job.rng, cancelled)


ENTRY = Entry("local", "sgd", Sgd)
