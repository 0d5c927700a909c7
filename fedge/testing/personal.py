"""`check_personal`: the laws of `fedge.algorithms.protocols.Personal`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import WEIGHTS, Adapted, Personal, Start, State, cluster_names
from fedge.algorithms.registry import Entry
from fedge.algorithms.trainer import Cancelled, Diverged, Job
from fedge.nn import Network, NetworkSpec
from fedge.nn.spec import Dense, ReLU
from fedge.testing.jobs import CLASSES, COLUMNS, PLAN, Example, never
from fedge.testing.laws import (
    Array,
    BrokenLaw,
    copied,
    first_state,
    law,
    maker,
    other_randomness,
    require,
    require_state,
    require_vector,
    same,
    same_arrays,
)

SIZES = (1, 7, 100)
HIDDEN = (Dense(units=5), ReLU(), Dense(units=4), ReLU())
CLASSIFIER = NetworkSpec(inputs=COLUMNS, layers=(*HIDDEN, Dense(units=CLASSES)), loss="cross-entropy")
REGRESSION = NetworkSpec(inputs=COLUMNS, layers=(*HIDDEN, Dense(units=1)), loss="mse")

Make = Callable[[], Personal]


def check_personal(
    personal: Entry[Personal] | Make,
    options: Mapping[str, Any] | None = None,
    *,
    plan: Plan = PLAN,
    seed: int = 0,
) -> None:
    """Check a personal model against its protocol, on a small classifier and a small regression.

    Both networks have three layers with parameters, which exported files number 0, 2 and 4. A device takes
    part in two rounds of training, and measures before, between and after them.

    The laws, by the names that `BrokenLaw.law` has:

    * `chosen`: it is True or False.
    * `models`: it is an integer, at least 1, the same each time.
    * `shared`: None, or a mask of bool of shape (p,), true somewhere; the same each time.
    * `start`: it returns `weights`, finite float32 of shape (p,), and a `cluster` in range(models).
    * `result`: `adapt` makes a result, in a round of training and in one that only measures, and also where
      the owner's time ends.
    * `weights`: the personal model is None, or finite float32 of shape (p,).
    * `finite`: if the weights cannot be finite, `adapt` raises `Diverged`.
    * `state`: a state is finite named arrays, and that of `init` is the same each time.
    * `arguments`: neither `start` nor `adapt` changes an array that it is given.
    * `seeded`: the same arguments give the same bits, in another object too.
    * `hidden`: and in the same object: what it remembers is its state alone.
    * `asks`, `cancelled`: `adapt` asks `cancelled` before each step, ends with `Cancelled` on a yes, and lets
      through what the question raises.

    Args:
        personal: its entry, or a function that makes one.
        options: the options of the entry.
        plan: epochs, batch size and learning rate of the rounds.
        seed: the seed of the samples.

    Raises:
        BrokenLaw: the personal model breaks a law; the text says which and how.
    """
    make = maker(personal, options)
    chosen = getattr(make(), "chosen", None)
    require(isinstance(chosen, bool), "chosen", f"`chosen` is {chosen!r}, expected True or False")
    part = make()
    counts = [part.models, part.models, make().models]
    right = all(type(count) is int and count >= 1 for count in counts) and len(set(counts)) == 1
    require(right, "models", f"`models` is {counts}, expected the same integer each time, at least 1")
    for size in SIZES:
        with law("state", f"size {size}: init"):
            first_state(make, size, f"size {size}")
    for where, network in (("a classifier", CLASSIFIER), ("a regression", REGRESSION)):
        _check_shared(make, network, where)
        state, further = make().init(network.schema.size), cluster_names(counts[0])[1:]
        for number in (0, 1, 2, 3, 4):
            example = Example(network, plan, state, further, seed=seed + number)
            trains = number % 2 == 1
            told = "trains" if trains else "only measures"
            round_ = _Round(make, example, trains, f"{where}, round {number}, which {told}")
            state = copied(round_.check().state)
        first = make().init(network.schema.size)
        _check_divergence(make, Example(network, plan, first, further, seed=seed), where)


def _check_shared(make: Make, network: NetworkSpec, where: str) -> None:
    part, size = make(), network.schema.size
    with law("shared", f"{where}: shared"):
        masks = [part.shared(network), part.shared(network), make().shared(network)]
    for mask in masks:
        if mask is not None:
            shaped = isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (size,)
            require(shaped, "shared", f"{where}: it is {mask!r}, expected None or bool of shape ({size},)")
            require(mask.any(), "shared", f"{where}: no weight leaves the device")
    first = masks[0]
    equal = all((mask is None) == (first is None) for mask in masks)
    equal = equal and (first is None or all(same(first, mask) for mask in masks if mask is not None))
    require(equal, "shared", f"{where}: another mask each time for the same network")


class _Counting(Network):
    """A network that counts the gradients that are computed of it."""

    steps = 0

    def gradients(self, *arguments: Any, **more: Any) -> Any:
        self.steps += 1
        return super().gradients(*arguments, **more)

    def loss_and_grad(self, *arguments: Any, **more: Any) -> float:
        self.steps += 1
        return super().loss_and_grad(*arguments, **more)


class _TimeIsUp(Exception):  # noqa: N818 (what the owner's limit says)
    pass


class _Asked:
    """Answers no, and from one question on another thing.

    Args:
        after: the questions that are answered by no; None: all.
        raises: whether it raises then, as the owner's limit does; else it says yes.
    """

    def __init__(self, after: int | None = None, *, raises: bool = False) -> None:
        self._after, self._raises, self.times = after, raises, 0

    def __call__(self) -> bool:
        self.times += 1
        if self._after is None or self.times <= self._after:
            return False
        if self._raises:
            raise _TimeIsUp
        return True


@dataclass(frozen=True)
class _Round:
    """A round of one device, which can be repeated as often as needed."""

    make: Make
    example: Example
    trains: bool
    where: str

    def check(self) -> Adapted:
        """Check the laws of `start` and `adapt`; returns what `adapt` made."""
        part = self.make()
        start = self._begun(part)
        job, trained = self._job(), self._trained(start)
        given = Start(np.array(start.weights), start.cluster)
        before, asked = self._arrays(job, given, trained), _Asked()
        with law("result", f"{self.where}: adapt"):
            adapted = part.adapt(job, given, trained, asked)
        self._unchanged(before, self._arrays(job, given, trained), "adapt")
        self._require_form(adapted, self.where)
        steps = job.network.steps if isinstance(job.network, _Counting) else 0
        text = f"{self.where}: it asks `cancelled` {asked.times} times in {steps} steps; ask before each"
        require(asked.times >= steps, "asks", text)
        again = self._adapted(part, start, never)
        with other_randomness(1):
            fresh = self._adapted(self.make(), start, never)
        self._require_same(_same_adapted, adapted, again, fresh, "adapt")
        for after in {0, asked.times - 1} if asked.times else ():
            self._check_end(start, after, asked.times)
        here = f"{self.where}, with time for one step"
        with law("result", f"{here}: adapt"):
            early = self.make().adapt(
                replace(self._job(), enough=lambda: True), _copy(start), self._trained(start), never
            )
        self._require_form(early, here)
        return adapted

    def _begun(self, part: Personal) -> Start:
        job, where = self._job(), f"{self.where}: start"
        received, state = dict(job.received), job.state
        before = {**_named("received", copied(received)), **_named("state", copied(state))}
        with law("start", where):
            start = part.start(received, state, self._loss)
        self._unchanged(before, {**_named("received", received), **_named("state", state)}, "start")
        require(isinstance(start, Start), "start", f"{where} returns {start!r}, expected a `Start`")
        require_vector(start.weights, job.weights.size, "start", f"{where}: weights")
        require(np.isfinite(start.weights).all(), "start", f"{where}: the weights are not finite")
        models = part.models
        inside = type(start.cluster) is int and 0 <= start.cluster < models
        require(
            inside, "start", f"{where}: the cluster is {start.cluster!r}, expected one of range({models})"
        )
        job = self._job()
        again = part.start(job.received, job.state, self._loss)
        with other_randomness(1):
            fresh = self.make().start(job.received, job.state, self._loss)
        self._require_same(_same_start, start, again, fresh, "start")
        return start

    def _job(self) -> Job:
        return replace(self.example.job(), network=_Counting(self.example.network))

    def _loss(self, weights: Array) -> float:
        """The mean loss on rows of another seed."""
        rows = replace(self.example, seed=self.example.seed + 100, state={}).job()
        return float(rows.network.loss(weights, rows.X, rows.y))

    def _trained(self, start: Start) -> Array | None:
        """Weights that a training may have ended with."""
        if not self.trains:
            return None
        rng = np.random.default_rng([self.example.seed, 3])
        moved: Array = (start.weights + rng.normal(0, 0.01, start.weights.size)).astype(np.float32)
        return moved

    def _adapted(self, part: Personal, start: Start, cancelled: Callable[[], bool]) -> Adapted:
        return part.adapt(self._job(), _copy(start), self._trained(start), cancelled)

    def _check_end(self, start: Start, after: int, questions: int) -> None:
        where = f"{self.where}, cancelled at question {after + 1} of {questions}"
        for raises, expected in ((False, Cancelled), (True, _TimeIsUp)):
            told = "what `cancelled` raises" if raises else "a yes"
            try:
                self._adapted(self.make(), start, _Asked(after, raises=raises))
            except expected:
                continue
            except Exception as error:
                raise BrokenLaw("cancelled", f"{where}: it makes {error!r} of {told}") from error
            raise BrokenLaw("cancelled", f"{where}: it goes on after {told}")

    def _require_form(self, adapted: object, where: str) -> None:
        require(isinstance(adapted, Adapted), "result", f"{where}: it is {adapted!r}, expected an `Adapted`")
        assert isinstance(adapted, Adapted)
        if adapted.weights is not None:
            size = self.example.network.schema.size
            require_vector(adapted.weights, size, "weights", f"{where}: the personal model")
            finite = np.isfinite(adapted.weights).all()
            require(finite, "weights", f"{where}: the personal model is not finite")
        require_state(adapted.state, None, f"{where}: the state after it")

    def _arrays(self, job: Job, start: Start, trained: Array | None) -> dict[str, Array]:
        rows = {"job.X": job.X, "job.y": job.y, "start.weights": start.weights}
        rows |= {} if trained is None else {"trained": trained}
        return copied({**_named("received", job.received), **_named("state", job.state), **rows})

    def _unchanged(self, before: Mapping[str, Array], after: Mapping[str, Array], what: str) -> None:
        changed = [
            name
            for name in before.keys() | after.keys()
            if name not in before or name not in after or not same(before[name], after[name])
        ]
        text = f"{self.where}: {what} changes {', '.join(sorted(changed))}"
        require(not changed, "arguments", text)

    def _require_same(
        self, equal: Callable[[Any, Any], bool], first: object, again: object, fresh: object, what: str
    ) -> None:
        text = f"{self.where}: {what} gives something else the second time: it remembers something by itself"
        require(equal(first, again) or not equal(first, fresh), "hidden", text)
        text = f"{self.where}: {what} gives another result of the same arguments; draw from `job.rng` alone"
        require(equal(first, again) and equal(first, fresh), "seeded", text)


def _check_divergence(make: Make, example: Example, where: str) -> None:
    """Check that steps and weights that are far too large end as `Diverged`, or in finite weights."""
    wild = example.plan.model_copy(update={"learning_rate": 1e3, "epochs": 30})
    for each in (replace(example, plan=wild), replace(example, scale=1e30)):
        job = each.job()
        try:
            with np.errstate(all="ignore"):
                adapted = make().adapt(job, Start(job.received[WEIGHTS]), np.array(job.weights), never)
        except Diverged:
            continue
        except Exception as error:
            raise BrokenLaw("finite", f"{where}: what grows raises {error!r}, not Diverged") from error
        finite = adapted.weights is None or np.isfinite(adapted.weights).all()
        require(finite, "finite", f"{where}: weights that are not finite are returned; raise Diverged")


def _named(what: str, arrays: State) -> dict[str, Array]:
    return {f"{what}[{name!r}]": array for name, array in arrays.items()}


def _copy(start: Start) -> Start:
    return replace(start, weights=np.array(start.weights))


def _same_start(left: Start, right: Start) -> bool:
    return left.cluster == right.cluster and same(left.weights, right.weights)


def _same_adapted(left: Adapted, right: Adapted) -> bool:
    if left.weights is None or right.weights is None:
        return left.weights is right.weights and same_arrays(left.state, right.state)
    return same(left.weights, right.weights) and same_arrays(left.state, right.state)
