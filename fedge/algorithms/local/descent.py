"""Gradient descent on one flat vector, with the terms that local algorithms add to a step.

With the mean gradient g of a batch, of length ‖g‖ over all p entries, a step is

    g ← g · min(1, G / ‖g‖)                         if the plan has a `max_gradient` G
    v ← μ v + g + λ w + pull · (w - anchor) + offset
    w ← w - α v

and v begins at 0 in each round. A term without a value costs neither a pass over the weights nor a buffer.

McMahan, Moore, Ramage, Hampson, y Arcas 2017, "Communication-Efficient Learning of Deep Networks from
Decentralized Data", AISTATS, Algorithm 1, ClientUpdate. Momentum: Polyak 1964, "Some methods of speeding up
the convergence of iteration methods", USSR Computational Mathematics and Mathematical Physics 4(5). Clipping:
Pascanu, Mikolov, Bengio 2013, "On the difficulty of training recurrent neural networks", ICML, Algorithm 1.
"""

from collections.abc import Callable, Iterator
from math import isfinite, sqrt
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fedge.algorithms.plan import Plan
from fedge.algorithms.trainer import Cancelled, Diverged, Job, Trained, never
from fedge.data.disclosure import public
from fedge.nn import Network
from fedge.nn.layer import Piece

Array = NDArray[Any]

BLOCK = 16_384
"""The number of entries that `rounded` makes at a time."""


class Terms(TypedDict, total=False):
    """What a local algorithm adds to the steps of `train`; without them it is `sgd`."""

    pull: float
    """How strongly a step is drawn to the anchor."""
    anchor: Array
    """Of shape (p,); needed where `pull` is not 0."""
    offset: Array
    """Added to each step's v, of shape (p,)."""
    enough: Callable[[], bool]
    """Called before each step but the first; True ends training here."""


def train_job(job: Job, cancelled: Callable[[], bool], **terms: Unpack[Terms]) -> Trained:
    """Train as a job says: `train` from its announced weights."""
    return train(job.network, job.weights, job.X, job.y, job.plan, job.rng, cancelled, **terms)


def train(
    network: Network,
    w: Array,
    X: Array,
    y: Array,
    plan: Plan,
    rng: "np.random.Generator",
    cancelled: Callable[[], bool] = never,
    **terms: Unpack[Terms],
) -> Trained:
    """Train `plan.epochs` epochs from w, of shape (p,), which is not changed.

    The module's docstring has the formula of a step.

    Args:
        network: the network to train.
        w: the weights to start from.
        X: prepared samples, of shape (n, d), n ≥ 1.
        y: prepared targets of these samples.
        plan: epochs, batch size, α, μ, λ, G.
        rng: shuffles the samples anew in each epoch; not used when one batch holds them all.
        cancelled: called before each step.
        terms: what a local algorithm adds to the steps.

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
        steps = descend(network, vector, X, y, plan, rng, cancelled, **terms)
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
    *,
    pull: float = 0.0,
    anchor: Array | None = None,
    offset: Array | None = None,
    enough: Callable[[], bool] = never,
) -> int:
    """Take the steps of `train` on `vector`, in place; return how many were taken, at least 1.

    Raises:
        Diverged: after an epoch, or at the end, the weights are not finite.
        Cancelled: `cancelled` returned True.
        ValueError: there is a `pull` and no `anchor`.
    """
    if pull and anchor is None:
        raise ValueError(f"a pull of {pull:g} needs an anchor")
    rate, steps = plan.learning_rate, 0
    # This keeps α v, which a step subtracts as it is: α v ← μ (α v) + α g + α λ w + ….
    velocity = np.zeros_like(vector) if plan.momentum else None
    term = np.empty_like(vector) if plan.weight_decay or pull else None
    shift = None if offset is None else np.multiply(offset, rate, dtype=vector.dtype)
    gradients = network.gradients if plan.max_gradient is None else _clipping(network, plan.max_gradient)
    for _ in range(plan.epochs):
        for X_batch, y_batch in batches(X, y, plan.batch_size, rng):
            if cancelled():
                raise Cancelled(f"cancelled after {steps} steps")
            if steps and enough():
                _require_finite(vector, steps, rate)
                return steps
            for place, change in gradients(vector, X_batch, y_batch, rate):
                part = vector[place]
                if term is not None:
                    added = term[place]
                    if plan.weight_decay:
                        np.multiply(part, rate * plan.weight_decay, added)
                        np.add(change, added, change)
                    if pull and anchor is not None:
                        np.subtract(part, anchor[place], added)
                        np.multiply(added, rate * pull, added)
                        np.add(change, added, change)
                if shift is not None:
                    np.add(change, shift[place], change)
                if velocity is not None:
                    momentum = velocity[place]
                    np.multiply(momentum, plan.momentum, momentum)
                    change = np.add(momentum, change, momentum)
                np.subtract(part, change, part)
            steps += 1
        _require_finite(vector, steps, rate)
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
    for start in range(0, samples, size):
        rows = order[start : start + size]
        if len(rows) < size:
            X_batch, y_batch = X_batch[: len(rows)], y_batch[: len(rows)]
        # only mode "clip" writes to `out` without a temporary buffer
        yield X.take(rows, 0, X_batch, "clip"), y.take(rows, 0, y_batch, "clip")


def rounded(made: Callable[[slice], Array], size: int, dtype: DTypeLike, rate: float) -> Array:
    """Make a vector of shape (size,) from float64, rounded once, a block at a time.

    So no float64 vector of the model's size is in memory.

    Args:
        made: what an algorithm makes of trained weights, in float64: the entries of a slice.
        size: the number of entries.
        dtype: of the result.
        rate: the learning rate, for the error.

    Raises:
        Diverged: an entry is not finite, or too large for `dtype`.
    """
    result = np.empty(size, dtype)
    with np.errstate(over="ignore"):
        for start in range(0, size, BLOCK):
            place = slice(start, min(size, start + BLOCK))
            result[place] = made(place)
    if not np.isfinite(result).all():
        raise Diverged(
            public("what the algorithm makes of the weights is not finite"),
            public("lower the learning rate {rate:g}", rate=rate),
        )
    return result


def _clipping(network: Network, bound: float) -> Callable[[Array, Array, Array, float], Iterator[Piece]]:
    """Return what takes the place of `network.gradients` if a gradient has a largest length.

    Only the whole gradient has a length, so it is collected first, in a buffer of shape (p,). One that is
    not too long keeps its bits.
    """
    whole = np.zeros(network.schema.size, network.dtype)

    def gradients(w: Array, X: Array, y: Array, scale: float) -> Iterator[Piece]:
        for place, piece in network.gradients(w, X, y, scale):
            whole[place] = piece
        # in float64, where the square of each float32 is finite; einsum casts a few thousand at a time
        length = sqrt(np.einsum("i,i->", whole, whole, dtype=np.float64)) / scale
        if length > bound:  # not if it is NaN, which stays and is found
            np.multiply(whole, bound / length, whole)
        yield slice(0, len(whole)), whole

    return gradients


def _require_finite(vector: Array, steps: int, rate: float) -> None:
    if not np.isfinite(vector).all():
        raise Diverged(
            public("weights are not finite after {steps} steps", steps=steps),
            public("lower the learning rate {rate:g}", rate=rate),
        )
