"""`check_local`: the laws of `fedge.algorithms.protocols.LocalAlgorithm`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import LocalAlgorithm
from fedge.algorithms.registry import Entry
from fedge.testing.jobs import (
    CLASSIFIER,
    PLAN,
    REGRESSION,
    Example,
    check_divergence,
    check_partial,
    check_training,
)
from fedge.testing.laws import (
    copied,
    first_state,
    law,
    maker,
    require,
    require_state,
    require_vector,
    same,
    same_arrays,
)

SIZES = (1, 7, 100)


def check_local(
    local: Entry[LocalAlgorithm] | Callable[[], LocalAlgorithm],
    options: Mapping[str, Any] | None = None,
    *,
    plan: Plan = PLAN,
    seed: int = 0,
) -> None:
    """Check a local algorithm against its protocol, on a small classifier and a small regression.

    The laws, by the names that `BrokenLaw.law` has:

    * `names`: `receives` and `sends` are tuples of names, without `weights`.
    * `result`: it trains at all.
    * `vectors`: it returns `weights` and what it `sends`, each float32 of shape (size,).
    * `finite`: they are finite; if they cannot be, it raises `Diverged`.
    * `learns`: the weights are others than before, and the loss is smaller.
    * `losses`: the losses that it tells are the network's.
    * `arguments`: no array of the job is changed.
    * `seeded`: the same job gives the same bits, in another object too.
    * `hidden`: and in the same object: what it remembers is its state alone.
    * `asks`, `cancelled`: it asks `cancelled` before each step, ends with `Cancelled` on a yes, and lets
      through what the question raises.
    * `partial`: with `partial` it asks `job.enough` before each step but the first, and on a yes it returns
      the steps that are done; without, it takes all steps whatever `job.enough` says.
    * `handed_on`: what it makes of each vector that it `receives` is float32 of shape (size,), finite, the
      same each time, and no argument is changed.
    * `state`: a state is finite named arrays, those of `init` each time, of the same names, shapes and types
      after each round.

    Args:
        local: its entry, or a function that makes one.
        options: the options of the entry.
        plan: epochs, batch size and learning rate of the rounds.
        seed: the seed of the samples.

    Raises:
        BrokenLaw: the algorithm breaks a law; the text says which and how.
    """
    make = maker(local, options)
    receives, sends = (_names(make(), kind) for kind in ("receives", "sends"))
    for size in SIZES:
        first_state(make, size, f"size {size}")
    for where, network in (("a classifier", CLASSIFIER), ("a regression", REGRESSION)):
        first = make().init(network.schema.size)
        begin = Example(network, plan, first, receives, seed=seed)
        example = begin
        for number in (1, 2):
            here = f"{where}, round {number}"
            trained = check_training(lambda: make().run, example, sends, here)
            require_state(trained.state, first, f"{here}: the state after it")
            partial = getattr(make(), "partial", False)
            check_partial(lambda: make().run, example, trained.steps, here, partial=partial)
            example = replace(example, state=copied(trained.state))
        check_divergence(lambda: make().run, begin, where)
    for name in receives if hasattr(make(), "handed_on") else ():  # without it the aggregate is announced
        _check_handed_on(make, name, seed)


def _names(part: LocalAlgorithm, kind: str) -> tuple[str, ...]:
    names = getattr(part, kind, None)
    right = isinstance(names, tuple) and all(isinstance(n, str) and n != "weights" for n in names)
    require(right, "names", f"`{kind}` is {names!r}, expected a tuple of names without 'weights'")
    return tuple(names or ())


def _check_handed_on(make: Callable[[], LocalAlgorithm], name: str, seed: int) -> None:
    """Check the server's part of an algorithm, for one vector that it receives."""
    rng = np.random.default_rng([seed, 2])
    for size in SIZES:
        part = make()
        first = {"before": np.zeros(size, np.float32), "aggregate": rng.normal(size=size).astype(np.float32)}
        later = {which: rng.normal(size=size).astype(np.float32) for which in first}
        for share in (1.0, 0.25):
            for vectors in (first, later):
                where, given = f"{name} of size {size}, share {share:g}", copied(vectors)
                with law("handed_on", where):
                    made = [each.handed_on(name, **given, share=share) for each in (part, part, make())]
                require_vector(made[0], size, "handed_on", where)
                require(np.isfinite(made[0]).all(), "handed_on", f"{where}: it is not finite")
                require(same_arrays(given, vectors), "handed_on", f"{where}: it changes an argument")
                equal = same(made[0], made[1]) and same(made[0], made[2])
                require(equal, "handed_on", f"{where}: it makes something else of the same arguments")
