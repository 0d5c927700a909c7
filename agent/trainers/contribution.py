"""What a device contributes to a round: a survey, an update, or figures of the newest model."""

import hashlib
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agent.config import AgentSettings
from agent.core.events import Done
from agent.data.dataset import Dataset
from agent.data.snapshot import Snapshot
from agent.trainers.assignment import Assignment
from agent.trainers.data import Data
from agent.trainers.figures import finite, measured
from agent.trainers.survey import survey_of
from agent.trainers.timekeeping import Timekeeper
from fedge.algorithms.local.shuffling import generator
from fedge.algorithms.registry import CODECS
from fedge.algorithms.trainer import Job, Trainer
from fedge.nn import Network
from fedge.nn.spec import clip_of
from fedge.wire.freshness import round_of
from fedge.wire.messages.message import pack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import FIGURES, WEIGHTS, Update

Cancelled = Callable[[], bool]


class Contributor:
    """Does what a round asks for.

    Args:
        settings: the configuration.
        data: of the device.
        trainer: trains.
    """

    def __init__(self, settings: AgentSettings, data: Data, trainer: Trainer) -> None:
        self._settings = settings
        self._data = data
        self._trainer = trainer
        CODECS.entries()  # read now: a message never makes a device import code
        self._network: tuple[bytes, Network] | None = None

    def contribute(self, assignment: Assignment, cancelled: Cancelled) -> Done:
        """Survey, train or measure; `cancelled` is asked before each step of training.

        Raises:
            Exception: whatever `agent.trainers.declines.declined` gives a reason for, and `Cancelled`.
        """
        started_s = time.monotonic()
        kind = assignment.manifest.kind
        dataset = self._data.of(assignment)
        snapshot: tuple[str, Snapshot] | None = None
        if kind == "survey":
            snapshot = assignment.source, self._data.snapshot(assignment.source)
            message: Survey | Update = self._survey(assignment, snapshot[1])
        elif kind == "evaluate":
            message = self._evaluate(assignment, dataset, started_s)
        else:
            message = self._train(assignment, dataset, started_s, cancelled)
        payload = pack(message)
        return Done(
            now_s=time.monotonic(),
            round=round_of(assignment.manifest),
            digest=hashlib.sha256(payload).digest(),
            payload=payload,
            samples=message.samples,
            snapshot=snapshot,
        )

    def _survey(self, assignment: Assignment, snapshot: Snapshot) -> Survey:
        return survey_of(assignment, snapshot, self._settings)

    def _train(
        self, assignment: Assignment, dataset: Dataset, started_s: float, cancelled: Cancelled
    ) -> Update:
        manifest, weights = assignment.manifest, assignment.weights
        assert manifest.model is not None
        assert manifest.plan is not None
        assert weights is not None
        network = self._network_of(assignment)
        job = Job(
            network,
            {"weights": weights},
            network.prepare(dataset.X),
            network.prepare_targets(dataset.y),
            manifest.plan,
            generator(manifest.seed, manifest.generation, manifest.round, self._settings.device),
        )
        trained = self._trainer.work(job, self._within_limits(job, cancelled))
        check(trained.vector, weights)
        codec = CODECS.make(manifest.plan.codec, manifest.plan.codec_options)
        body, _ = codec.encode(trained.vector, codec.init(len(weights)), job.rng)
        metrics = {
            "loss_before": trained.loss_before,
            "loss_after": trained.loss_after,
            **assignment.traffic,
        }
        if len(dataset.held_X):
            metrics["held_out"] = float(len(dataset.held_X))
            if assignment.task.classes is not None:
                metrics["held_unseen"] = float(dataset.held_unseen)
            for when, vector in (("before", weights), ("after", trained.vector)):
                metrics |= measured(network, vector, dataset, when)
        if clip_of(assignment.task.network) is not None:
            extremes = self._data.extremes
            metrics["clipped"] = float(extremes.rows if extremes is not None else 0)
        metrics["seconds"] = time.monotonic() - started_s
        return Update(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.model.digest,
            device=self._settings.device,
            samples=len(dataset.X),
            steps=trained.steps,
            kind=WEIGHTS,
            codec=manifest.plan.codec,
            body=body,
            metrics=finite(metrics),
        )

    def _evaluate(self, assignment: Assignment, dataset: Dataset, started_s: float) -> Update:
        """The figures of the model on the rows that are held out, and nothing else."""
        manifest, weights = assignment.manifest, assignment.weights
        assert manifest.model is not None
        assert weights is not None
        metrics = dict(assignment.traffic)
        if len(dataset.held_X):
            metrics["held_out"] = float(len(dataset.held_X))
            metrics |= measured(self._network_of(assignment), weights, dataset, "before")
        metrics["seconds"] = time.monotonic() - started_s
        return Update(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.model.digest,
            device=self._settings.device,
            samples=len(dataset.X),
            steps=0,
            kind=FIGURES,
            codec="float32",
            body=b"",
            metrics=finite(metrics),
        )

    def _within_limits(self, job: Job, cancelled: Cancelled) -> Cancelled:
        """The same question, which also keeps the owner's `[limits] seconds`."""
        limit_s = self._settings.limits.seconds
        return cancelled if limit_s is None else Timekeeper(cancelled, job.plan.steps(len(job.X)), limit_s)

    def _network_of(self, assignment: Assignment) -> Network:
        """The task's network; the one before is used again while the task is the same."""
        digest = assignment.manifest.task.digest
        if self._network is None or self._network[0] != digest:
            self._network = (digest, Network(assignment.task.network))
        return self._network[1]


def check(vector: NDArray[np.float32], weights: NDArray[np.float32]) -> None:
    """Hold a trainer to its promise.

    Raises:
        ValueError: these are no weights for this model.
    """
    if vector.shape != weights.shape:
        raise ValueError(f"the trainer returned weights of shape {vector.shape}, expected {weights.shape}")
    if not np.isfinite(vector).all():
        raise ValueError("the trainer returned weights that are not finite")
