"""Local algorithms for the tests of `check_local` and `check_trainer`: some keep all laws, most break one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from fedge.algorithms.local.descent import train
from fedge.algorithms.local.sgd import Sgd
from fedge.algorithms.trainer import Cancelled, Diverged, Job, Trained

Asked = Callable[[], bool]


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


class Partial(Sgd):
    """It does what it can."""

    partial: ClassVar[bool] = True

    def run(self, job: Job, cancelled: Asked) -> Trained:
        return train(job.network, job.weights, job.X, job.y, job.plan, job.rng, cancelled, enough=job.enough)


class SaysNothingOfItsEarlyEnd(Partial):
    partial: ClassVar[bool] = False


class NeverHasEnough(Sgd):
    partial: ClassVar[bool] = True


class GoesOnForOneStep(Partial):
    """It asks after a step, where that step may be the last."""

    def run(self, job: Job, cancelled: Asked) -> Trained:
        answers = [False]

        def enough() -> bool:
            answers.append(job.enough())
            return answers[-2]

        return super().run(replace(job, enough=enough), cancelled)


class TellsAllSteps(Partial):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        return changed(super().run(job, cancelled), steps=job.plan.steps(len(job.X)))


class HasNothingToSend(Partial):
    """What is not complete is not finite."""

    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        if trained.steps == job.plan.steps(len(job.X)):
            return trained
        return changed(trained, vectors={"weights": np.full_like(trained.vector, np.nan)})


class GivesUp(Partial):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        assert trained.steps == job.plan.steps(len(job.X))
        return trained


class HandsOnFloat64(Drift):
    def handed_on(self, name: str, before: Any, aggregate: Any, share: float) -> Any:
        return before + np.float64(share) * aggregate


class HandsOnAPiece(Drift):
    def handed_on(self, name: str, before: Any, aggregate: Any, share: float) -> Any:
        return aggregate[:-1]


class HandsOnNothingFinite(Drift):
    def handed_on(self, name: str, before: Any, aggregate: Any, share: float) -> Any:
        return aggregate / before


class HandsOnInPlace(Drift):
    def handed_on(self, name: str, before: Any, aggregate: Any, share: float) -> Any:
        before += np.float32(share) * aggregate
        return before


class HandsOnWhatItHasSeen(Drift):
    """It adds up by itself, and ignores what it is given."""

    def __init__(self) -> None:
        self.sum: Any = np.float32(0)

    def handed_on(self, name: str, before: Any, aggregate: Any, share: float) -> Any:
        self.sum = self.sum + aggregate
        return self.sum


class HandsOnByItsOwnSeed(Drift):
    """Two objects disagree, each agrees with itself."""

    def __init__(self) -> None:
        self.seed = np.float32(np.random.default_rng().normal())

    def handed_on(self, name: str, before: Any, aggregate: Any, share: float) -> Any:
        return aggregate + self.seed


class HandsOnNoise(Drift):
    def handed_on(self, name: str, before: Any, aggregate: Any, share: float) -> Any:
        return aggregate + np.random.default_rng().normal(size=aggregate.size).astype(np.float32)


class CannotHandOn(Drift):
    def handed_on(self, name: str, before: Any, aggregate: Any, share: float) -> Any:
        raise KeyError(name)


class ModelOfAnotherShape(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        return changed(trained, model=trained.vector[:-1])


class ModelNotFinite(Sgd):
    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        return changed(trained, model=np.full_like(trained.vector, np.inf))


class SendsAnotherVector(Sgd):
    """What is sent is half of the change, and the losses are those of the whole."""

    def run(self, job: Job, cancelled: Asked) -> Trained:
        trained = super().run(job, cancelled)
        half = (job.weights + trained.vector) / np.float32(2)
        return changed(trained, vectors={"weights": half}, model=trained.vector)
