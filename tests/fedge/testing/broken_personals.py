"""Personal models for the tests of `check_personal`: some keep all laws, most break one."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from fedge.algorithms.local.descent import train
from fedge.algorithms.personal.ditto import Ditto, DittoOptions
from fedge.algorithms.protocols import Adapted, Personal, Start
from fedge.algorithms.trainer import Cancelled, Diverged, Job
from fedge.nn import NetworkSpec

Asked = Callable[[], bool]


def global_seed() -> int:
    """The first word of the global generator's state."""
    state: Any = np.random.get_state()  # noqa: NPY002
    return int(state[1][1])


class Drawn(Ditto):
    """Ditto: it has a state, and takes steps."""

    def __init__(self) -> None:
        super().__init__(DittoOptions())


class Half(Personal):
    """It shares the first half of the weights, keeps the rest, and trains one of two models."""

    @property
    def models(self) -> int:
        return 2

    def shared(self, network: NetworkSpec) -> Any:
        return np.arange(network.schema.size) < network.schema.size / 2

    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        names = ("weights", "cluster_1")
        best = int(np.argmin([loss(received[name]) for name in names]))
        return Start(received[names[best]], best)

    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        return Adapted(trained)


class ChoosesPerhaps(Drawn):
    chosen: ClassVar[Any] = None


class NoModels(Half):
    @property
    def models(self) -> int:
        return 0


class HalfAModel(Half):
    @property
    def models(self) -> Any:
        return 1.5


class MoreModelsEachTime(Half):
    def __init__(self) -> None:
        self.asked = 1

    @property
    def models(self) -> int:
        self.asked += 1
        return self.asked


class SharesNothing(Half):
    def shared(self, network: NetworkSpec) -> Any:
        return np.zeros(network.schema.size, np.bool_)


class SharesPlaces(Half):
    """The places of the shared weights, and not a mask."""

    def shared(self, network: NetworkSpec) -> Any:
        return np.arange(network.schema.size // 2)


class SharesALayerMask(Half):
    """A mask of the layers, and not of the weights."""

    def shared(self, network: NetworkSpec) -> Any:
        return np.ones(len(network.placed), np.bool_)


class SharesByChance(Half):
    def shared(self, network: NetworkSpec) -> Any:
        return np.random.default_rng().random(network.schema.size) < 0.5


class SharesAllAtFirst(Half):
    def __init__(self) -> None:
        self.told = False

    def shared(self, network: NetworkSpec) -> Any:
        told, self.told = self.told, True
        return super().shared(network) if told else None


class CannotDivide(Half):
    def shared(self, network: NetworkSpec) -> Any:
        raise KeyError("2.weight")


class StartsWithAPiece(Half):
    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        return Start(received["weights"][:-1])


class StartsInFloat64(Half):
    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        return Start(received["weights"].astype(np.float64))


class StartsWithInfinity(Half):
    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        return Start(np.full_like(received["weights"], np.inf))


class StartsWithAVector(Half):
    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Any:
        return received["weights"]


class ClusterBehindTheLast(Half):
    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        return Start(received["weights"], 2)


class ClusterBetweenTwo(Half):
    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        return Start(received["weights"], 0.5)  # type: ignore[arg-type]


class NeedsAThirdModel(Half):
    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        return Start(received["cluster_2"])


class NeedsAState(Drawn):
    """It cannot begin with what `init` gives."""

    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        return Start(state["last"])


class StartWritesToTheModel(Half):
    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        received["weights"][-3:] = 0
        return Start(received["weights"])


class StartWritesToTheState(Drawn):
    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        state["rounds"] += 1
        return super().start(received, state, loss)


class StartsByChance(Half):
    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        return Start(received["weights"] * np.float32(np.random.default_rng().random()))


class StartsByTheGlobalSeed(Half):
    """It reads the global generator and does not advance it."""

    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        return Start(received["weights"] * np.float32(global_seed() / 2**32))


class StartsWithTheLast(Half):
    """It begins with what it began with before."""

    def __init__(self) -> None:
        self.last: Any = None

    def start(self, received: Any, state: Any, loss: Callable[[Any], float]) -> Start:
        begun = received["weights"]
        weights = begun if self.last is None else (begun + self.last) / np.float32(3)
        self.last = weights
        return Start(weights)


class Fails(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        raise ZeroDivisionError


class ReturnsAVector(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Any:
        return super().adapt(job, start, trained, cancelled).weights


class NeedsTraining(Half):
    """It cannot adapt in a round that only measures."""

    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        return Adapted(trained.copy())


class NeedsAllSteps(Drawn):
    """It fails where the owner's time ends."""

    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        assert not job.enough()
        return super().adapt(job, start, trained, cancelled)


class Float64(Half):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        return Adapted(start.weights.astype(np.float64))


class APiece(Half):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        return Adapted(start.weights[self.shared(job.network.spec)])


class NotFinite(Half):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        return Adapted(np.full_like(start.weights, np.nan))


class NotFiniteAtAnEarlyEnd(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        adapted = super().adapt(job, start, trained, cancelled)
        return replace(adapted, weights=np.full_like(start.weights, np.nan)) if job.enough() else adapted


class SilentDivergence(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        try:
            return super().adapt(job, start, trained, cancelled)
        except Diverged:
            return Adapted(np.full_like(start.weights, np.nan), job.state)


class AnotherErrorThanDiverged(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        try:
            return super().adapt(job, start, trained, cancelled)
        except Diverged as error:
            raise FloatingPointError from error


class AnotherBeginning(Drawn):
    def init(self, size: int) -> Any:
        return {"v": np.random.default_rng().normal(size=size).astype(np.float32), "rounds": np.array(0)}


class BeginsWithAList(Drawn):
    def init(self, size: int) -> Any:
        return {"v": [0.0] * size, "rounds": np.array(0)}


class CannotBegin(Drawn):
    def init(self, size: int) -> Any:
        raise NotImplementedError


class StateNotFinite(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        adapted = super().adapt(job, start, trained, cancelled)
        return replace(adapted, state={**adapted.state, "v": adapted.state["v"] * np.float32(np.inf)})


class StateOfObjects(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        adapted = super().adapt(job, start, trained, cancelled)
        return replace(adapted, state={**adapted.state, "name": np.array(["pi"], object)})


class NoState(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        return replace(super().adapt(job, start, trained, cancelled), state=None)  # type: ignore[arg-type]


class WritesToTheStart(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        adapted = super().adapt(job, start, trained, cancelled)
        start.weights[...] = adapted.weights
        return adapted


class WritesToTheTrained(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        adapted = super().adapt(job, start, trained, cancelled)
        if trained is not None:
            trained[...] = adapted.weights
        return adapted


class WritesToTheModel(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        adapted = super().adapt(job, start, trained, cancelled)
        job.weights[...] = adapted.weights
        return adapted


class WritesToTheState(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        adapted = super().adapt(job, start, trained, cancelled)
        job.state["v"][...] = adapted.weights
        return adapted


class WritesToTheRows(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        adapted = super().adapt(job, start, trained, cancelled)
        np.multiply(job.X, 2, job.X)
        return adapted


class ShufflesByItself(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        return super().adapt(replace(job, rng=np.random.default_rng()), start, trained, cancelled)


class GlobalSeed(Drawn):
    """It reads the global generator and does not advance it."""

    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        rng = np.random.default_rng(global_seed())
        return super().adapt(replace(job, rng=rng), start, trained, cancelled)


class StateByChance(Drawn):
    """The weights are the same each time, and the state is not."""

    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        adapted = super().adapt(job, start, trained, cancelled)
        return replace(adapted, state={**adapted.state, "seed": np.array(np.random.default_rng().random())})


class RemembersByItself(Drawn):
    """It goes on from its own last model, which it keeps in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Any = None

    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        begun = start if self.last is None else replace(start, weights=self.last)
        adapted = super().adapt(job, begun, trained, cancelled)
        self.last = adapted.weights
        return adapted


class AsksOnce(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        if cancelled():
            raise Cancelled
        return super().adapt(job, start, trained, lambda: False)


class AsksNever(Personal):
    """It trains on, and nobody can end it."""

    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        return Adapted(train(job.network, start.weights, job.X, job.y, job.plan, job.rng).vector)


class GoesOn(Drawn):
    """It makes a model of what it has when it is cancelled."""

    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        try:
            return super().adapt(job, start, trained, cancelled)
        except Cancelled:
            return Adapted(None, job.state)


class CatchesTheLimit(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        try:
            return super().adapt(job, start, trained, cancelled)
        except (Cancelled, Diverged):
            raise
        except Exception:
            return Adapted(None, job.state)


class TellsAnotherEnd(Drawn):
    def adapt(self, job: Job, start: Start, trained: Any, cancelled: Asked) -> Adapted:
        try:
            return super().adapt(job, start, trained, cancelled)
        except Cancelled as error:
            raise TimeoutError from error
