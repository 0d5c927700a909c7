"""The vectors that a round's algorithm receives and sends, and their encoding."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.trainers import states
from agent.trainers.assignment import Assignment
from agent.trainers.built_in import BuiltIn
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import WEIGHTS, Codec, State
from fedge.algorithms.registry import LOCAL
from fedge.algorithms.trainer import Trained, Trainer

Array = NDArray[Any]


def received(assignment: Assignment, weights: Array, plan: Plan) -> dict[str, Array]:
    """Return the vectors that the round's algorithm receives: `weights`, and the others that it names.

    Raises:
        ValueError: the announced model lacks a vector, or a vector has another length than the weights.
    """
    vectors = {WEIGHTS: weights}
    for name in LOCAL.make(plan.local_name, plan.local_options).receives:
        vector = assignment.more.get(name)
        if vector is None or vector.shape != weights.shape:
            found = "lacks it" if vector is None else f"has it of shape {vector.shape}"
            raise ValueError(f"{plan.local_name} needs the vector {name!r}, and the announced model {found}")
        vectors[name] = vector
    return vectors


def check(trained: Trained, weights: Array, plan: Plan) -> None:
    """Check that a trainer returned the vectors that the plan's algorithm sends, and a usable model.

    Args:
        trained: what it returned; its `model` is not sent, but measured.
        weights: the announced weights, of shape (p,).
        plan: names the algorithm.

    Raises:
        ValueError: a name or a shape is wrong, or a value is not finite.
    """
    wanted = {WEIGHTS, *LOCAL.make(plan.local_name, plan.local_options).sends}
    if set(trained.vectors) != wanted:
        found, named = ", ".join(sorted(trained.vectors)), ", ".join(sorted(wanted))
        raise ValueError(f"the trainer returned the vectors {found}; {plan.local_name} sends {named}")
    returned = dict(trained.vectors) if trained.model is None else {**trained.vectors, "model": trained.model}
    for name, vector in returned.items():
        if vector.shape != weights.shape:
            raise ValueError(f"the trainer returned {name} of shape {vector.shape}, expected {weights.shape}")
        if not np.isfinite(vector).all():
            raise ValueError(f"the trainer returned {name} with entries that are not finite")


def require_half(trainer: Trainer, plan: Plan) -> None:
    """Check that a trainer of the owner's does what the server's half of the algorithm relies on.

    Where the local algorithm needs a certain rule or server optimizer, these compute with what the devices
    do: `nova` multiplies by the steps that a device divides by. A trainer that does something else would
    spoil the model, and its vectors do not show it. So it names the algorithms that it does, in `algorithms`.

    Args:
        trainer: the owner's, not the built-in one.
        plan: names the algorithm.

    Raises:
        ValueError: it does not name this algorithm.
    """
    name = plan.local_name
    if f"local:{name}" in halves_lacking(trainer):
        raise ValueError(
            f"[plan] local = {name!r} has a half on the server, and the trainer of [trainer] use does not "
            f"say that it does the device's: list {name!r} in its `algorithms`, or remove [trainer] use"
        )


def halves_lacking(trainer: Trainer) -> frozenset[str]:
    """The algorithms of this program that a trainer does not do, as names of `fedge.wire.capabilities`.

    They have a half on the server (`require_half`), and the trainer does not name them in `algorithms`.
    """
    if isinstance(trainer, BuiltIn):
        return frozenset()
    named = getattr(trainer, "algorithms", ())
    return frozenset(
        f"local:{name}"
        for name, entry in LOCAL.entries().items()
        if name not in named and any(need.kind in ("rule", "server") for need in entry.needs)
    )


def encoded(
    codec: Codec,
    vectors: Mapping[str, Array],
    base: Array,
    state: State,
    seed: Callable[[str], int],
    cluster: int = 0,
) -> tuple[dict[str, bytes], dict[str, Array]]:
    """Encode all vectors, `weights` first; return their bodies and the codec's new state.

    Args:
        codec: encodes the weights, or their difference from the base, computed in float64 and rounded once.
        vectors: `weights` and others, each of shape (p,).
        base: the announced weights, of shape (p,).
        state: the device's state, which holds the codec's part for each vector.
        seed: returns the seed of the vector of this name.
        cluster: the number of the shared model that was trained. What the codec keeps belongs to that model;
            of another one it is dropped.

    Raises:
        ValueError: the difference is too large for float32.
    """
    bodies: dict[str, bytes] = {}
    remembered: dict[str, Array] = {}
    for name in sorted(vectors, key=lambda name: (name != WEIGHTS, name)):
        vector, prefix = vectors[name], f"codec/{name}/" if not cluster else f"codec/{cluster}/{name}/"
        if name == WEIGHTS and codec.encodes == "change":
            with np.errstate(over="ignore"):
                vector = (vector.astype(np.float64) - base.astype(np.float64)).astype(np.float32)
            if not np.isfinite(vector).all():
                raise ValueError("the weights are too far from the announced ones for float32")
        before = states.part(state, prefix) or codec.init(len(base))
        bodies[name], after = codec.encode(vector, before, seed(name))
        remembered |= states.named(after, prefix)
    return bodies, remembered
