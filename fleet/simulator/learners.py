"""The trainer of virtual devices in worlds that learn with a composition: production's, on a loss of its own.

A device has the loss f(w) = ½ ‖w - b‖² for a vector b that differs at each try. The agent's own phase of
training runs the local algorithm on it, so the oracle can compute each update again
(`fleet.simulator.local_twins`).
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from agent.config import AgentSettings
from agent.core.events import Failed
from agent.core.state import AlgorithmState, PersonalState
from agent.data.dataset import Dataset
from agent.phases.phase import Equipment
from agent.phases.train import Train
from agent.trainers import states
from agent.trainers.assignment import Assignment
from agent.trainers.built_in import BuiltIn
from agent.trainers.declines import declined
from fedge.algorithms.registry import LOCAL
from fedge.algorithms.trainer import Diverged, Job, Trained
from fedge.nn import Network
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import Update
from fleet.simulator.local_twins import Work
from fleet.simulator.oracle.states import COUNTED, mark
from fleet.simulator.trainers import Bench, Odd, StandIn

KEPT_FIGURES = ("state_new",)
"""The figures that the agent reports of the algorithm, and not of the data."""
MOST_STEPS = 3


class Bowl:
    """The part of a network that a local algorithm uses, with the loss ½ ‖w - b‖² whatever the samples are.

    Args:
        optimum: b, of shape (p,), float32.
    """

    dtype = np.dtype(np.float32)

    def __init__(self, optimum: NDArray[np.float32]) -> None:
        self._optimum = optimum
        self.schema = SimpleNamespace(size=len(optimum))
        self.spec = None

    def prepare(self, X: NDArray[Any]) -> NDArray[Any]:
        """The samples as they are."""
        return X

    prepare_targets = prepare

    def loss(self, w: NDArray[Any], _X: NDArray[Any], _y: NDArray[Any]) -> float:
        """½ ‖w - b‖², in float64."""
        difference = np.subtract(w, self._optimum, dtype=np.float64)
        return float(0.5 * np.dot(difference, difference))

    def evaluate(self, w: NDArray[Any], X: NDArray[Any], y: NDArray[Any]) -> SimpleNamespace:
        """The loss, by which a device chooses among shared models."""
        return SimpleNamespace(loss=self.loss(w, X, y), accuracy=None)

    def gradients(
        self, w: NDArray[Any], _X: NDArray[Any], _y: NDArray[Any], scale: float = 1.0
    ) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Yield scale · (w - b), in float32."""
        yield slice(0, len(w)), (w - self._optimum) * np.float32(scale)


class _Hasty(BuiltIn):
    """The built-in trainer; where the algorithm allows it, it ends after some steps, as if time was up."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def work(self, job: Job, cancelled: Callable[[], bool]) -> Trained:
        """As `BuiltIn.work`."""
        asked = 0

        def enough() -> bool:
            nonlocal asked
            asked += 1
            return asked >= self._most

        local = LOCAL.make(job.plan.local_name, job.plan.local_options)
        return super().work(replace(job, enough=enough) if local.partial else job, cancelled)


class Learner(StandIn):
    """Runs the plan's local algorithm. Its state also lists the updates that counted, if there is a state."""

    def __init__(self, bench: Bench, number: int, odd: Odd, settings: AgentSettings) -> None:
        super().__init__(bench, number, odd, stateful=True)
        self._settings = settings
        self._after: AlgorithmState | None = None
        """The state after the update that was made last."""
        self._personal: PersonalState | None = None
        """The device's own model after it."""

    def outcome(self, job: Assignment) -> Survey | Update | Failed | None:
        """As `StandIn.outcome`; the vector that it makes is the optimum of the device's loss."""
        self._after = self._personal = None
        said = super().outcome(job)
        if not isinstance(said, Update) or job.manifest.kind != "train":
            return said
        plan = job.manifest.plan
        assert plan is not None
        optimum = np.frombuffer(said.body, "<f4")
        if plan.personal == "clusters" and self._number % 2:
            optimum = -optimum  # so that there are two kinds of devices, where there are several models
        asked, most = 1 + said.samples % MOST_STEPS, 1 + said.samples // MOST_STEPS % MOST_STEPS
        rows = np.zeros((max(1, plan.batch_size) * asked, 1), np.float32)
        equipment = Equipment(
            settings=self._settings,
            trainer=_Hasty(most),
            dataset=Dataset(rows, np.zeros(len(rows), np.int64), rows[:0], np.zeros(0, np.int64)),
            snapshot=None,
            extremes=None,
            network=lambda: cast(Network, Bowl(optimum)),
            seconds=lambda: 0.0,
        )
        try:
            found = Train().contribute(job, equipment, job.cancelled.is_set)
        except Diverged as error:
            return declined(round_of(job.manifest), error, None)
        assert isinstance(found.message, Update)
        local = LOCAL.make(plan.local_name, plan.local_options)
        steps = min(asked, most) if local.partial else asked
        of_it = {name: found.message.metrics[name] for name in KEPT_FIGURES if name in found.message.metrics}
        if steps < asked:
            of_it["partial"] = 1.0  # its clock is not the world's, so the agent does not see it
        update = found.message.model_copy(
            update={"samples": said.samples, "metrics": {**said.metrics, **of_it}}
        )
        self._after = found.pending
        self._personal = found.personal if plan.personal == "ditto" else None
        work = Work([float(b) for b in optimum], steps, asked)
        self._bench.learnt(job, update, found.pending, work, self._personal)
        return update

    def _own(self) -> PersonalState | None:
        return self._personal

    def _pending(self, job: Assignment, _here: RoundId, digest: bytes) -> AlgorithmState | None:
        after = self._after
        if after is None:
            return None
        before = states.current(job.state, after.lineage, job.manifest) or {}
        marks = np.array([*before.get(COUNTED, ()), mark(digest)], np.int64)
        return replace(after, data=states.pack({**states.unpack(after.data), COUNTED: marks}))
