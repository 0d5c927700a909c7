"""A device's models of its own in a round: the personal one and, to compare, one trained alone.

The order in a round is: what the training of the shared model begins with (`Own.start`); the training; then
`Own.finish` makes the personal model, trains the model alone, chooses which model the device uses, and
measures. The personal work has what is left of the owner's `[limits] seconds`.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from agent.core.state import ALONE, PERSONAL, SHARED, PersonalState
from agent.phases.phase import Cancelled, Equipment
from agent.trainers import personal_states
from agent.trainers.assignment import Assignment
from agent.trainers.choice import Array, Candidate, choose
from agent.trainers.figures import measured
from fedge.algorithms.local.descent import train_job
from fedge.algorithms.local.shuffling import generator
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import WEIGHTS, Adapted, Start
from fedge.algorithms.registry import PERSONAL as PARTS
from fedge.algorithms.trainer import Diverged, Job
from fedge.nn import first_weights
from fedge.wire.freshness import round_of

log = logging.getLogger(__name__)


class OutOfTime(Exception):  # noqa: N818 (what happened)
    """The owner's time is used up, and the part took another step all the same."""


class Rest:
    """What is left of the owner's time: `Job.enough` and `cancelled` of the personal work.

    Args:
        cancelled: whether the round's work was cancelled.
        limit_s: `[limits] seconds`; None: no limit.
        begun_s: when the round's training began, in monotonic seconds.
        now_s: monotonic seconds.
    """

    def __init__(
        self,
        cancelled: Cancelled,
        limit_s: float | None,
        begun_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cancelled = cancelled
        self._limit_s, self._begun_s, self._now_s = limit_s, begun_s, now_s
        self._told = False
        self.used_up = False
        """Whether work ended early, or was not begun."""

    def enough(self) -> bool:
        """Whether the time is used up."""
        over = self._limit_s is not None and self._now_s() - self._begun_s > self._limit_s
        self.used_up = self.used_up or over
        return over

    def cancelled(self) -> bool:
        """Whether the work was cancelled; call it before each step.

        Raises:
            OutOfTime: the time was used up before the former step already.
        """
        if self._told:
            raise OutOfTime
        self._told = self.enough()
        return self._cancelled()

    def begin(self) -> None:
        """Begin another piece of work.

        Raises:
            OutOfTime: there is no time for it.
        """
        self._told = False
        if self.enough():
            raise OutOfTime


@dataclass(frozen=True)
class Outcome:
    """What a round made of a device's own models."""

    metrics: dict[str, float]
    """The figures to report."""
    state: PersonalState | None
    """What to keep; None: what is kept stays as it is."""


class Own:
    """The models of a device's own in one round.

    Args:
        assignment: the round; its model is there.
        plan: the round's plan, with a personal model, or `compare`, or neither.
        equipment: the device's parts.
        cancelled: whether the round's work was cancelled.
    """

    def __init__(
        self, assignment: Assignment, plan: Plan, equipment: Equipment, cancelled: Cancelled
    ) -> None:
        assert assignment.weights is not None
        self._assignment, self._plan, self._equipment = assignment, plan, equipment
        manifest, self._network = assignment.manifest, equipment.network()
        self.part = PARTS.make(plan.personal, plan.personal_options) if plan.personal is not None else None
        """The personal model's part; None: the plan names none."""
        self._kept = personal_states.current(
            assignment.personal if self._adapts else None, manifest, plan, len(assignment.weights)
        )
        self._received = {WEIGHTS: assignment.weights, **assignment.more}
        self._rest = Rest(cancelled, equipment.settings.limits.seconds, time.monotonic())
        self.start = Start(assignment.weights)
        """What the training of the shared model begins with."""
        if self.part is not None:
            self.start = self.part.start(self._received, self._state_before(), self._loss)
        shared = self.part.shared(self._network.spec) if self.part is not None else None
        self.shared = shared
        """Which weights leave the device, a mask of shape (p,); None: all."""

    @property
    def _adapts(self) -> bool:
        return self.part is not None or bool(self._plan.compare)

    def finish(self, trained: Array | None) -> Outcome:
        """Make the personal model and the one alone, and choose.

        Args:
            trained: the weights that the round's training ended with, of shape (p,); None: the round only
                measures.

        Raises:
            Cancelled: the work was cancelled.
        """
        kept = self._assignment.personal
        if not self._adapts:
            return Outcome({}, personal_states.unused(kept))
        adapted = self._adapted(trained)
        alone = self._alone(trains=trained is not None) if self._plan.compare else self._kept.alone
        chose, weights = self._chosen(adapted.weights, alone if self._plan.compare else None)
        self._tell()
        metrics = self._figures(chose, weights, alone if self._plan.compare else None)
        manifest = self._assignment.manifest
        assert manifest.model is not None
        state = PersonalState(
            round=round_of(manifest),
            lineage=personal_states.lineage_of(manifest.task.digest, self._plan),
            task=manifest.task.digest,
            base=manifest.model.digest,
            name=self._plan.personal_name,
            chose=chose,
            data=personal_states.packed(dict(adapted.state), alone, None if chose == SHARED else weights),
        )
        return Outcome(metrics, state)

    def _state_before(self) -> dict[str, Array]:
        assert self.part is not None
        return self._kept.part or dict(self.part.init(len(self._received[WEIGHTS])))

    def _job(self, weights: Array, what: str) -> Job:
        """Training of a model of the device's own: the round's, with another source of randomness."""
        manifest, dataset = self._assignment.manifest, self._equipment.dataset
        device = f"{self._equipment.settings.device}|{what}"  # no device id has a |
        return Job(
            self._network,
            {**self._received, WEIGHTS: weights},
            self._network.prepare(dataset.X),
            self._network.prepare_targets(dataset.y),
            self._plan,
            generator(manifest.seed, manifest.generation, manifest.round, device),
            self._state_before() if self.part is not None else {},
            self._rest.enough,
        )

    def _adapted(self, trained: Array | None) -> Adapted:
        """Make the personal model; without time, or if it diverges, there is none in this round."""
        if self.part is None:
            return Adapted(None)
        try:
            if self.part.chosen:  # the others are what the round's training ended with: they take no time
                self._rest.begin()
            return self.part.adapt(
                self._job(self._received[WEIGHTS], "personal"), self.start, trained, self._rest.cancelled
            )
        except OutOfTime:
            pass  # `_tell` says so
        except Diverged as error:
            log.warning("the personal model is left out in this round: %s", error)
        return Adapted(None, self._kept.part)

    def _alone(self, *, trains: bool) -> Array | None:
        """Train the model alone by the plan, from the generation's first weights on.

        None: it was never trained, so there is no such model yet.
        """
        kept, manifest = self._kept.alone, self._assignment.manifest
        if not trains:
            return kept
        before = (
            first_weights(self._network.spec, manifest.seed, manifest.generation) if kept is None else kept
        )
        try:
            self._rest.begin()
            job = self._job(before, "alone")
            return train_job(job, self._rest.cancelled, enough=job.enough).vector
        except OutOfTime:
            pass  # `_tell` says so
        except Diverged as error:
            log.warning("the model alone is not trained in this round: %s", error)
        return kept

    def _chosen(self, personal: Array | None, alone: Array | None) -> Candidate:
        """Choose the model to use. The shared one is preferred, then the personal one."""
        candidates: list[Candidate] = []
        if self.part is None or self.part.chosen or personal is None:
            candidates.append((SHARED, self.start.weights))
        if personal is not None:
            candidates.append((PERSONAL, personal))
        if alone is not None:
            candidates.append((ALONE, alone))
        dataset = self._equipment.dataset
        if len(candidates) == 1 or dataset.choose_X is None or dataset.choose_y is None:
            return candidates[0]
        return choose(self._network, candidates, dataset.choose_X, dataset.choose_y)

    def _figures(self, chose: int, weights: Array, alone: Array | None) -> dict[str, float]:
        dataset = self._equipment.dataset
        if not len(dataset.held_X):
            return {"chose": float(chose)}
        metrics = {"chose": float(chose), **measured(self._network, weights, dataset, "personal")}
        if alone is not None:
            metrics |= measured(self._network, alone, dataset, "alone")
        return metrics

    def _loss(self, weights: Array) -> float:
        """The mean loss of weights on the part to choose by; on the training part if there is none."""
        dataset = self._equipment.dataset
        X, y = dataset.choose_X, dataset.choose_y
        if X is None or y is None:
            X, y = dataset.X, dataset.y
        with np.errstate(over="ignore", invalid="ignore"):
            return self._network.evaluate(weights, X, y).loss

    def _tell(self) -> None:
        if self._rest.used_up:
            log.info(
                "round %s: work on models of this device's own ended early or was left out: [limits] seconds "
                "is %g",
                round_of(self._assignment.manifest),
                self._equipment.settings.limits.seconds,
            )
