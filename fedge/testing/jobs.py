"""Small training rounds, and the laws that local algorithms and trainers share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from fedge.algorithms.plan import Plan
from fedge.algorithms.trainer import Cancelled, Diverged, Job, Trained
from fedge.nn import Network, NetworkSpec, initialize
from fedge.nn.spec import Dense, ReLU
from fedge.testing.laws import (
    Array,
    BrokenLaw,
    copied,
    law,
    other_randomness,
    require,
    require_vector,
    same,
    same_arrays,
)

PLAN = Plan(epochs=2, batch_size=8, learning_rate=0.1)
SAMPLES, COLUMNS, CLASSES = 30, 4, 3

Run = Callable[[Job, Callable[[], bool]], Trained]
"""`LocalAlgorithm.run` or `Trainer.work`."""
CLASSIFIER = NetworkSpec(
    inputs=COLUMNS, layers=(Dense(units=5), ReLU(), Dense(units=CLASSES)), loss="cross-entropy"
)
REGRESSION = NetworkSpec(inputs=COLUMNS, layers=(Dense(units=1),), loss="mse")


@dataclass(frozen=True)
class Example:
    """A round's training on one device, which can be made anew as often as needed."""

    network: NetworkSpec
    plan: Plan = PLAN
    state: Mapping[str, Array] = field(default_factory=dict)
    """The state of the device."""
    receives: tuple[str, ...] = ()
    """The vectors that come with the model, besides the weights."""
    scale: float = 1.0
    """Of the weights."""
    seed: int = 0

    def job(self) -> Job:
        """Make the same job each time."""
        network, rng = Network(self.network), np.random.default_rng([self.seed, 1])
        X = network.prepare(rng.normal(size=(SAMPLES, COLUMNS)))
        classes = self.network.loss == "cross-entropy"
        y = rng.integers(CLASSES, size=SAMPLES) if classes else X @ rng.normal(size=(COLUMNS, 1))
        weights = (self.scale * initialize(self.network, rng)).astype(np.float32)
        further = {name: rng.normal(0, 0.01, weights.size).astype(np.float32) for name in self.receives}
        received = {"weights": weights, **further}
        state, plan = copied(self.state), self.plan
        return Job(network, received, X, network.prepare_targets(y), plan, np.random.default_rng(7), state)


def check_training(run: Callable[[], Run], example: Example, sends: tuple[str, ...], where: str) -> Trained:
    """Check the laws that local algorithms and trainers share: see `check_local`.

    Args:
        run: gives the function that trains, of a new object each time.
        example: on what.
        sends: the vectors besides `weights` that have to come.
        where: for the text.

    Raises:
        BrokenLaw: one is broken.
    """
    train, job = run(), example.job()
    before = _arrays(job)
    asked = _Asked()
    with law("result", f"{where}: training"):
        trained = train(job, asked)
    changed = [name for name, array in _arrays(job).items() if not same(array, before[name])]
    require(not changed, "arguments", f"{where}: it changes {', '.join(changed)} of the job")
    _check_result(trained, job, sends, where)
    _check_questions(run, example, trained, asked, where)
    again = train(example.job(), never)
    with other_randomness(1):
        fresh = run()(example.job(), never)
    text = f"{where}: the same job gives something else the second time: it remembers something by itself"
    require(_same(trained, again) or not _same(trained, fresh), "hidden", text)
    seeded = _same(trained, again) and _same(trained, fresh)
    require(seeded, "seeded", f"{where}: the same job gives another result; draw from `job.rng` alone")
    return trained


def check_divergence(run: Callable[[], Run], example: Example, where: str) -> None:
    """Check that steps and weights that are far too large end as `Diverged`, or in finite weights.

    Raises:
        BrokenLaw: `finite`.
    """
    wild = example.plan.model_copy(update={"learning_rate": 1e3, "epochs": 30})
    for each in (replace(example, plan=wild), replace(example, scale=1e30)):
        try:
            with np.errstate(all="ignore"):
                trained = run()(each.job(), never)
        except Diverged:
            continue
        except Exception as error:
            raise BrokenLaw("finite", f"{where}: what grows raises {error!r}, not Diverged") from error
        finite = all(np.isfinite(vector).all() for vector in trained.vectors.values())
        require(finite, "finite", f"{where}: weights that are not finite are returned; raise Diverged")


def never() -> bool:
    """Never cancel."""
    return False


class _Asked:
    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> bool:
        self.times += 1
        return False


class _TimeIsUp(Exception):  # noqa: N818 (what the owner's limit says)
    pass


def _arrays(job: Job) -> dict[str, Array]:
    """Copy all arrays of a job."""
    named: dict[str, Any] = {f"received[{name!r}]": array for name, array in job.received.items()}
    named |= {f"state[{name!r}]": array for name, array in job.state.items()}
    return copied({**named, "X": job.X, "y": job.y})


def _check_result(trained: Trained, job: Job, sends: tuple[str, ...], where: str) -> None:
    size, wanted = job.weights.size, {"weights", *sends}
    text = f"{where}: it returns the vectors {sorted(trained.vectors)}, expected {sorted(wanted)}"
    require(set(trained.vectors) == wanted, "vectors", text)
    text = f"{where}: the state after it is {trained.state!r}, expected named arrays"
    require(isinstance(trained.state, Mapping), "state", text)
    require_vectors(trained, size, where)
    require(not np.array_equal(trained.vector, job.weights), "learns", f"{where}: the weights are as before")
    losses = [job.network.loss(weights, job.X, job.y) for weights in (job.weights, trained.vector)]
    text = (
        f"{where}: the loss was {losses[0]:g} and is {losses[1]:g}; `plan` should be one with which it falls"
    )
    require(losses[1] < losses[0], "learns", text)
    for when, weights, told in (
        ("before", job.weights, trained.loss_before),
        ("after", trained.vector, trained.loss_after),
    ):
        loss = job.network.loss(weights, job.X, job.y)
        text = f"{where}: loss_{when} is {told:g}, and the network's is {loss:g}"
        require(np.isclose(told, loss, rtol=1e-4), "losses", text)


def require_vectors(trained: Trained, size: int, where: str) -> None:
    """Check the form of what is sent, and of the model that is measured if that is another vector.

    Raises:
        BrokenLaw: `vectors` or `finite`.
    """
    model = {} if trained.model is None else {"model": trained.model}
    for name, vector in {**trained.vectors, **model}.items():
        require_vector(vector, size, "vectors", f"{where}: {name}")
        require(np.isfinite(vector).all(), "finite", f"{where}: {name} is not finite")


def _check_questions(
    run: Callable[[], Run], example: Example, trained: Trained, asked: _Asked, where: str
) -> None:
    steps = trained.steps
    require(isinstance(steps, int) and steps > 0, "asks", f"{where}: it says that it took {steps} steps")
    text = f"{where}: it asks `cancelled` {asked.times} times in {steps} steps; ask before each"
    require(asked.times >= steps, "asks", text)
    for after in {0, steps - 1}:
        try:
            run()(example.job(), _yes(after, answer=True))
        except Cancelled:
            pass
        except Exception as error:
            raise BrokenLaw("cancelled", f"{where}: a yes after {after} steps raises {error!r}") from error
        else:
            raise BrokenLaw("cancelled", f"{where}: it goes on when `cancelled` says yes after {after} steps")
        try:
            run()(example.job(), _yes(after, answer=False))
        except _TimeIsUp:
            continue
        except Exception as error:
            raise BrokenLaw("cancelled", f"{where}: it makes {error!r} of the owner's time limit") from error
        raise BrokenLaw("cancelled", f"{where}: it catches what `cancelled` raises: the owner's time limit")


def check_partial(run: Callable[[], Run], example: Example, steps: int, where: str, *, partial: bool) -> None:
    """Check that work ends where `job.enough` says so, and only then: see `check_local`.

    Args:
        run: gives the function that trains, of a new object each time.
        example: on what.
        steps: the number of steps without an early end.
        where: for the text.
        partial: whether the algorithm says that fewer steps count.

    Raises:
        BrokenLaw: `partial`, or one of what is sent.
    """
    for wanted in {1, steps - 1} - {0, steps}:
        job = replace(example.job(), enough=_after(wanted))
        here = f"{where}, enough after {wanted} of {steps} steps"
        with law("partial", f"{here}: training"):
            trained = run()(job, never)
        expected = wanted if partial else steps
        text = f"{here}: it took {trained.steps} steps, and `partial` is {partial}; expected {expected}"
        require(trained.steps == expected, "partial", text)
        require_vectors(trained, job.weights.size, here)


def _after(questions: int) -> Callable[[], bool]:
    """Answer yes to this question and all later ones."""
    asked = _Asked()

    def enough() -> bool:
        asked()
        return asked.times >= questions

    return enough


def _yes(after: int, *, answer: bool) -> Callable[[], bool]:
    """Answer no a number of times, then yes, or raise the exception of the owner's limit."""
    asked = _Asked()

    def cancelled() -> bool:
        asked()
        if asked.times <= after:
            return False
        if not answer:
            raise _TimeIsUp
        return True

    return cancelled


def _same(left: Trained, right: Trained) -> bool:
    return (
        left.steps == right.steps
        and same(left.vector, right.vector)
        and same_arrays(left.vectors, right.vectors)
        and same_arrays(left.state, right.state)
    )
