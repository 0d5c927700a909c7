"""`check_server`: the laws of `fedge.algorithms.protocols.ServerOptimizer`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from fedge.algorithms.protocols import ServerOptimizer, State
from fedge.algorithms.registry import Entry
from fedge.testing.laws import (
    Array,
    copied,
    first_state,
    law,
    maker,
    repeated,
    require,
    require_state,
    require_vector,
    same,
    same_arrays,
)

SIZES = (1, 7, 1000)
SHARE = 0.5
"""The share of the fleet that takes part in a round."""
PULLED = 5
"""Number of steps in one direction."""


def check_server(
    server: Entry[ServerOptimizer] | Callable[[], ServerOptimizer],
    options: Mapping[str, Any] | None = None,
    *,
    still: bool = True,
    seed: int = 0,
) -> None:
    """Check a server optimizer against its protocol.

    The laws, by the names that `BrokenLaw.law` has:

    * `state`: a state is finite named arrays, those of `init` each time, of the same names, shapes and types.
    * `arguments`: `step` changes none of its arguments.
    * `seeded`: the same arguments give the same model and state, in another object too.
    * `hidden`: and in the same object: it remembers nothing by itself.
    * `model`: the next model is finite float32 of shape (size,).
    * `still`: an aggregate that is the base leaves the model where it is, before anything is remembered.
    * `direction`: where aggregates stay on one side of the model, each entry goes to that side, and goes on.

    Args:
        server: its entry, or a function that makes one.
        options: the options of the entry.
        still: whether the law `still` holds; weight decay on the server would break it.
        seed: the seed of the vectors.

    Raises:
        BrokenLaw: the optimizer breaks a law; the text says which and how.
    """
    make = maker(server, options)
    for size in SIZES:
        first = first_state(make, size, f"size {size}")
        for what, base, aggregate in _rounds(size, seed):
            _check_steps(make, base, aggregate, f"size {size}, {what}")
        _check_direction(make, size, seed)
        if still:
            base = np.random.default_rng([seed, size]).normal(size=size).astype(np.float32)
            stays, _ = make().step(base, base.copy(), first, SHARE)
            off = float(np.abs(stays - base).max())
            text = f"size {size}: with an aggregate that is the base the model moves by {off:g}"
            require(np.allclose(stays, base, rtol=1e-6, atol=1e-7), "still", text)


def _check_direction(make: Callable[[], ServerOptimizer], size: int, seed: int) -> None:
    """Some steps with aggregates that pull each entry by 1, some up and some down."""
    server, pull = make(), np.random.default_rng([seed, size, 2]).choice([-1.0, 1.0], size)
    model, state, gone = np.zeros(size, np.float32), server.init(size), np.zeros(size)
    for number in range(1, PULLED + 1):
        where = f"size {size}, step {number} of one way"
        model, state = _stepped(server, model, (model + pull).astype(np.float32), state, where)
        stays = np.flatnonzero(model * pull <= gone)
        found = f"at {model[stays][:3]} …, and are pulled to {pull[stays][:3]} …"
        require(not len(stays), "direction", f"{where}: entries {stays[:3]} … are {found}")
        gone = model * pull


def _rounds(size: int, seed: int) -> Iterator[tuple[str, Array, Array]]:
    rng = np.random.default_rng([seed, size, 1])
    base = rng.normal(size=size).astype(np.float32)
    yield "a small change", base, (base + rng.normal(0, 0.01, size)).astype(np.float32)
    yield "no change", base, base.copy()
    yield "a huge change", base, (1e30 * rng.uniform(-1, 1, size)).astype(np.float32)
    yield "a tiny change", np.zeros(size, np.float32), np.full(size, 1e-40, np.float32)


def _check_steps(make: Callable[[], ServerOptimizer], base: Array, aggregate: Array, where: str) -> None:
    """Three steps one after the other: each is repeated, in the same object and in another one."""
    server = make()
    state = server.init(base.size)
    for number in range(3):
        here = f"{where}, step {number + 1}"
        model, after = repeated(make, server, _stepped, (base, aggregate, state, here), number, here)
        base, aggregate, state = model, (model + (aggregate - base)).astype(np.float32), after


def _stepped(
    server: ServerOptimizer, base: Array, aggregate: Array, state: State, where: str
) -> tuple[Array, State]:
    given, before = (base.copy(), aggregate.copy()), copied(state)
    with law("model", f"{where}: step"):
        model, after = server.step(base, aggregate, state, SHARE)
    unchanged = same(given[0], base) and same(given[1], aggregate) and same_arrays(before, state)
    require(unchanged, "arguments", f"{where}: `step` changes what it is given")
    require_vector(model, base.size, "model", f"{where}: the next model")
    require(np.isfinite(model).all(), "model", f"{where}: the next model is not finite")
    require_state(after, before, f"{where}: the next state")
    return np.array(model), copied(after)
