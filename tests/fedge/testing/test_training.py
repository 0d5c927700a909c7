"""`check_local` and `check_trainer` pass what is right, and name the law that each broken sample breaks."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from agent.trainers.built_in import BuiltIn
from examples.extend import proximal
from examples.extend.trainer import BoldDriver
from fedge.algorithms.local.sgd import Sgd
from fedge.algorithms.registry import LOCAL
from fedge.algorithms.trainer import Cancelled, Diverged, Job, Trained
from fedge.testing import BrokenLaw, check_local, check_trainer

Asked = Callable[[], bool]


@pytest.mark.parametrize("name", LOCAL.names())
def test_the_built_in_ones_keep_the_laws(name: str) -> None:
    check_local(LOCAL.entries()[name])


@pytest.mark.parametrize("trainer", [BuiltIn, BoldDriver])
def test_trainers_keep_the_laws(trainer: Any) -> None:
    check_trainer(trainer)


def test_one_from_outside_keeps_the_laws() -> None:
    check_local(proximal.ENTRY, {"mu": 0.5})


class Drift(Sgd):
    """It has all that a local algorithm can have: it receives, sends and remembers a vector."""

    receives = ("control",)
    sends = ("control",)

    def init(self, size: int) -> Any:
        return {"control": np.zeros(size, np.float32)}

    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        change = trained.vector - job.weights + job.received["control"]
        remembered = {"control": (job.state["control"] + change) / np.float32(2)}
        return replace(trained, vectors={**trained.vectors, "control": change}, state=remembered)


def test_one_with_vectors_and_a_state_keeps_the_laws() -> None:
    check_local(Drift)


def changed(trained: Trained, **more: Any) -> Trained:
    return replace(trained, **more)


class SendsTheWeights(Drift):
    sends = ("weights",)


class Fails(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        raise ZeroDivisionError


class SendsNothingElse(Drift):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        return changed(trained, vectors={"weights": trained.vector})


class Float64(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        return changed(trained, vectors={"weights": trained.vector.astype(np.float64)})


class NotFinite(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        return changed(trained, vectors={"weights": trained.vector / np.float32(0)})


class SilentDivergence(Sgd):
    """What `Diverged` was raised for is returned."""

    def run(self, job: Job, cancelled: Asked) -> Trained:
        try:
            return super().run(job, cancelled)
        except Diverged:
            return Trained({"weights": np.full_like(job.weights, np.nan)}, 1, 0.0, 0.0)


class LearnsNothing(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        return changed(trained, vectors={"weights": job.weights.copy()}, loss_after=trained.loss_before)


class Climbs(Sgd):
    """It goes as far as SGD, the other way."""

    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        with np.errstate(all="ignore"):
            weights = job.weights + (job.weights - trained.vector)
        loss = job.network.loss(weights, job.X, job.y)
        return changed(trained, vectors={"weights": weights}, loss_after=loss)


class TellsAnotherLoss(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        return changed(trained, loss_after=trained.loss_after / 2)


class WritesToTheWeights(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        job.weights[...] = trained.vector
        return trained


class WritesToTheState(Drift):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        job.state["control"][...] += 1  # type: ignore[index]
        return trained


class ShufflesByItself(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        return super().run(replace(job, rng=np.random.default_rng()), cancelled)


class GlobalSeed(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        seed = np.random.randint(10**6)  # noqa: NPY002
        return super().run(replace(job, rng=np.random.default_rng(seed)), cancelled)


class RemembersByItself(Sgd):
    """The weights that it came to last are the ones that it goes on from."""

    def __init__(self) -> None:
        self.last: Any = None

    def run(self, job: Job, cancelled: Asked) -> Trained:
        begun = job.weights if self.last is None else (job.weights + self.last) / np.float32(2)
        trained = super().run(replace(job, received={"weights": begun}), cancelled)
        self.last = trained.vector
        return changed(trained, loss_before=job.network.loss(job.weights, job.X, job.y))


class AsksOnce(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        if cancelled():
            raise Cancelled
        return super().run(job, lambda: False)


class GoesOn(Sgd):
    """It returns what it has when it is cancelled."""

    def run(self, job: Job, cancelled: Asked) -> Trained:
        asked = [cancelled() for _ in range(job.plan.steps(len(job.X)))]
        assert asked
        return super().run(job, lambda: False)


class CatchesTheLimit(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        try:
            return super().run(job, cancelled)
        except Cancelled:
            raise
        except Diverged:
            raise
        except Exception:
            return super().run(job, lambda: False)


class StateOfAnotherShape(Drift):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        return changed(trained, state={"control": trained.state["control"][:3]})


class StateNotFinite(Drift):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        return changed(trained, state={"control": trained.state["control"] * np.float32(np.inf)})


class AnotherBeginning(Drift):
    def init(self, size: int) -> Any:
        return {"control": np.random.default_rng().normal(size=size).astype(np.float32)}


BREACHES = [
    ("result", Fails),
    ("vectors", Float64),
    ("finite", NotFinite),
    ("finite", SilentDivergence),
    ("learns", LearnsNothing),
    ("learns", Climbs),
    ("losses", TellsAnotherLoss),
    ("arguments", WritesToTheWeights),
    ("seeded", ShufflesByItself),
    ("seeded", GlobalSeed),
    ("hidden", RemembersByItself),
    ("asks", AsksOnce),
    ("cancelled", GoesOn),
    ("cancelled", CatchesTheLimit),
]


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        *BREACHES,
        ("names", SendsTheWeights),
        ("vectors", SendsNothingElse),
        ("arguments", WritesToTheState),
        ("state", StateOfAnotherShape),
        ("state", StateNotFinite),
        ("state", AnotherBeginning),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_breach_of_a_local_algorithm_is_found(law: str, broken: Any) -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_local(broken)
    assert caught.value.law == law


@pytest.mark.parametrize(("law", "broken"), BREACHES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_each_breach_of_a_trainer_is_found(law: str, broken: Any) -> None:
    class Trainer:
        def __init__(self) -> None:
            self.inner = broken()

        def work(self, job: Job, cancelled: Asked) -> Trained:
            trained: Trained = self.inner.run(job, cancelled)
            return trained

    with pytest.raises(BrokenLaw) as caught:
        check_trainer(Trainer)
    assert caught.value.law == law


def trains_with(state: Callable[[Any], Any]) -> Any:
    class Trainer:
        def work(self, job: Job, cancelled: Asked) -> Trained:
            return replace(Sgd().run(job, cancelled), state=state(job.state))

    return Trainer


def test_a_trainer_may_remember_something() -> None:
    check_trainer(trains_with(lambda state: {"rounds": state.get("rounds", np.zeros(1)) + 1}))


@pytest.mark.parametrize(
    "state",
    [
        lambda state: {"name": np.array(["pi"], object)},
        lambda state: {"rounds": np.array([np.nan])},
        lambda state: {"all": np.zeros(1 + len(state.get("all", ())))},
        lambda state: None,
    ],
    ids=["objects", "not finite", "grows", "nothing"],
)
def test_what_a_trainer_cannot_remember_is_found(state: Any) -> None:
    with pytest.raises(BrokenLaw) as caught:
        check_trainer(trains_with(state))
    assert caught.value.law == "state"


def test_a_trainer_that_fails_with_what_it_remembers_is_found() -> None:
    def once(state: Any) -> Any:
        assert not state
        return {"rounds": np.ones(1)}

    with pytest.raises(BrokenLaw) as caught:
        check_trainer(trains_with(once))
    assert caught.value.law == "result"
