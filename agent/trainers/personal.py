"""A device's models of its own in a round: the personal one and, to compare, one trained alone.

The order in a round is: what the training of the shared model begins with (`Own.start`); the training; then
`Own.finish` makes the personal model, trains the model alone, chooses between the shared and the personal
model, trains the personal one, where it was chosen, once more with the rows that it was chosen by, and
measures. The personal work has what is left of the owner's `[limits] seconds`. The model alone is only
measured: a device never uses it. It trains on the rows that the shared model trains on, and that the personal
one was chosen with.

The choice is made among models that have not seen the rows to choose by. What is then trained with them too
is used and reported, and never chosen by these rows: the next round begins from the models before. Hastie,
Tibshirani, Friedman 2009, "The Elements of Statistical Learning", 2nd edition, section 7.10.1: the chosen
model is fit to all the data.
"""

import logging
import time
from dataclasses import dataclass

import numpy as np

from agent.core.state import PERSONAL, SHARED, PersonalState
from agent.phases.phase import Cancelled, Equipment
from agent.trainers import personal_states
from agent.trainers.assignment import Assignment
from agent.trainers.choice import Array, Candidate, choose
from agent.trainers.figures import measured
from agent.trainers.rest import OutOfTime, Rest
from fedge.algorithms.local.descent import train_job
from fedge.algorithms.local.shuffling import generator
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import WEIGHTS, Adapted, Start, State
from fedge.algorithms.registry import PERSONAL as PARTS
from fedge.algorithms.trainer import Diverged, Job
from fedge.nn import first_weights
from fedge.wire.freshness import round_of

log = logging.getLogger(__name__)


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
        """Make the personal model and the one alone, choose, and measure.

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
        chose, weights = self._chosen(adapted.weights)
        weights = self._with_all_rows(chose, weights, adapted)
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

    def _job(self, weights: Array, what: str, state: State, *, all_rows: bool = False) -> Job:
        """Training of a model of the device's own: the round's, with another source of randomness."""
        manifest, dataset = self._assignment.manifest, self._equipment.dataset
        X, y = dataset.with_choice if all_rows else (dataset.X, dataset.y)
        device = f"{self._equipment.settings.device}|{what}"  # no device id has a |
        return Job(
            self._network,
            {**self._received, WEIGHTS: weights},
            self._network.prepare(X),
            self._network.prepare_targets(y),
            self._plan,
            generator(manifest.seed, manifest.generation, manifest.round, device),
            state,
            self._rest.enough,
        )

    def _adapted(self, trained: Array | None) -> Adapted:
        """Make the personal model; without time, or if it diverges, the one that its state has, if any."""
        if self.part is None:
            return Adapted(None)
        try:
            if self.part.chosen:  # the others are what the round's training ended with: they take no time
                self._rest.begin()
            job = self._job(self._received[WEIGHTS], "personal", self._state_before())
            return self.part.adapt(job, self.start, trained, self._rest.cancelled)
        except OutOfTime:
            pass  # `_tell` says so
        except Diverged as error:
            log.warning("the personal model is left out in this round: %s", error)
        return Adapted(self.part.kept(self._state_before()), self._kept.part)

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
            job = self._job(before, "alone", {})
            return train_job(job, self._rest.cancelled, enough=job.enough).vector
        except OutOfTime:
            pass  # `_tell` says so
        except Diverged as error:
            log.warning("the model alone is not trained in this round: %s", error)
        return kept

    def _chosen(self, personal: Array | None) -> Candidate:
        """Choose the model to use. If both are equally good, it is the shared one."""
        shared, dataset = (SHARED, self.start.weights), self._equipment.dataset
        if self.part is None or personal is None:
            return shared
        if not self.part.chosen:
            return PERSONAL, personal
        if dataset.choose_X is None or dataset.choose_y is None:
            return shared
        return choose(self._network, (shared, (PERSONAL, personal)), dataset.choose_X, dataset.choose_y)

    def _with_all_rows(self, chose: int, weights: Array, adapted: Adapted) -> Array:
        """Train the personal model once more with the rows that it was chosen by, where it was chosen.

        Without time for it, or if it diverges, the model stays as it was chosen.
        """
        if self._equipment.dataset.choose_X is None or chose == SHARED:
            return weights
        try:
            if self.part is not None and self.part.chosen:
                self._rest.begin()
                job = self._job(self._received[WEIGHTS], "personal|all", adapted.state, all_rows=True)
                found = self.part.adapt(job, self.start, None, self._rest.cancelled).weights
                return weights if found is None else found
        except OutOfTime:
            pass  # `_tell` says so
        except Diverged as error:
            log.warning("the model in use is not trained with the rows it was chosen by: %s", error)
        return weights

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
