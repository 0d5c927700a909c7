"""What a device contributes to a round: a survey, an update, or figures of the newest model."""

import hashlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.config import AgentSettings
from agent.core.events import Done
from agent.core.state import AlgorithmState
from agent.data.dataset import Dataset
from agent.data.snapshot import Snapshot
from agent.trainers import states
from agent.trainers.assignment import Assignment
from agent.trainers.data import Data
from agent.trainers.figures import finite, measured
from agent.trainers.survey import survey_of
from agent.trainers.timekeeping import Timekeeper
from fedge.algorithms.local.shuffling import generator
from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import Codec, State
from fedge.algorithms.registry import CODECS, LOCAL
from fedge.algorithms.trainer import Job, Trainer
from fedge.nn import Network
from fedge.nn.spec import clip_of
from fedge.wire.freshness import round_of
from fedge.wire.messages.message import pack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.update import DELTA, FIGURES, WEIGHTS, Update

Array = NDArray[Any]
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
        pending: AlgorithmState | None = None
        if kind == "survey":
            snapshot = assignment.source, self._data.snapshot(assignment.source)
            message: Survey | Update = self._survey(assignment, snapshot[1])
        elif kind == "evaluate":
            message = self._evaluate(assignment, dataset, started_s)
        else:
            message, pending = self._train(assignment, dataset, started_s, cancelled)
        payload = pack(message)
        return Done(
            now_s=time.monotonic(),
            round=round_of(assignment.manifest),
            digest=hashlib.sha256(payload).digest(),
            payload=payload,
            samples=message.samples,
            snapshot=snapshot,
            pending=pending,
        )

    def _survey(self, assignment: Assignment, snapshot: Snapshot) -> Survey:
        return survey_of(assignment, snapshot, self._settings)

    def _train(
        self, assignment: Assignment, dataset: Dataset, started_s: float, cancelled: Cancelled
    ) -> tuple[Update, AlgorithmState | None]:
        manifest, weights, plan = assignment.manifest, assignment.weights, assignment.manifest.plan
        assert manifest.model is not None
        assert plan is not None
        assert weights is not None
        network = self._network_of(assignment)
        lineage = states.lineage_of(manifest, plan, self._settings.trainer.use or "")
        before = states.current(assignment.state, lineage, manifest)
        job = Job(
            network,
            received(assignment, weights, plan),
            network.prepare(dataset.X),
            network.prepare_targets(dataset.y),
            plan,
            generator(manifest.seed, manifest.generation, manifest.round, self._settings.device),
            states.part(before or {}, "local/"),
        )
        trained = self._trainer.work(job, self._within_limits(job, cancelled))
        check(trained.vectors, weights, plan)
        codec = CODECS.make(plan.codec, plan.codec_options)
        bodies, remembered = encoded(codec, trained.vectors, weights, before or {}, job.rng)
        after = {**states.named(trained.state, "local/"), **remembered}
        pending = states.kept_after(after, before, assignment.state, lineage, round_of(manifest))
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
        if pending is not None and before is None:
            metrics["state_new"] = 1.0
        metrics["seconds"] = time.monotonic() - started_s
        update = Update(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.model.digest,
            device=self._settings.device,
            samples=len(dataset.X),
            steps=trained.steps,
            kind=DELTA if codec.encodes == "change" else WEIGHTS,
            codec=plan.codec,
            body=bodies.pop(WEIGHTS),
            vectors=bodies or None,
            metrics=finite(metrics),
        )
        return update, pending

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


def received(assignment: Assignment, weights: Array, plan: Plan) -> dict[str, Array]:
    """The vectors that the round's algorithm receives: `weights`, and what it names besides.

    Raises:
        ValueError: the announced model lacks one, or it has another length than the weights.
    """
    vectors = {WEIGHTS: weights}
    for name in LOCAL.make(plan.local_name, plan.local_options).receives:
        vector = assignment.more.get(name)
        if vector is None or vector.shape != weights.shape:
            found = "lacks it" if vector is None else f"has it of shape {vector.shape}"
            raise ValueError(f"{plan.local_name} needs the vector {name!r}, and the announced model {found}")
        vectors[name] = vector
    return vectors


def check(vectors: Mapping[str, Array], weights: Array, plan: Plan) -> None:
    """Hold a trainer to its promise.

    Raises:
        ValueError: these are not the vectors that the round's algorithm sends for this model.
    """
    wanted = {WEIGHTS, *LOCAL.make(plan.local_name, plan.local_options).sends}
    if set(vectors) != wanted:
        found, named = ", ".join(sorted(vectors)), ", ".join(sorted(wanted))
        raise ValueError(f"the trainer returned the vectors {found}; {plan.local_name} sends {named}")
    for name, vector in vectors.items():
        if vector.shape != weights.shape:
            raise ValueError(f"the trainer returned {name} of shape {vector.shape}, expected {weights.shape}")
        if not np.isfinite(vector).all():
            raise ValueError(f"the trainer returned {name} that are not finite")


def encoded(
    codec: Codec, vectors: Mapping[str, Array], base: Array, state: State, rng: np.random.Generator
) -> tuple[dict[str, bytes], dict[str, Array]]:
    """All vectors in a codec, `weights` first, and what it remembers of them.

    Args:
        codec: gets the weights, or their difference from the base, formed in float64 and rounded once.
        vectors: `weights` and others, each of shape (p,).
        base: the announced weights, of shape (p,).
        state: of the device, with the codec's part for each vector.
        rng: of the round's work; what is random in the codec comes after what is random in training.

    Raises:
        ValueError: the difference is too large for float32.
    """
    bodies: dict[str, bytes] = {}
    remembered: dict[str, Array] = {}
    for name in sorted(vectors, key=lambda name: (name != WEIGHTS, name)):
        vector, prefix = vectors[name], f"codec/{name}/"
        if name == WEIGHTS and codec.encodes == "change":
            with np.errstate(over="ignore"):
                vector = (vector.astype(np.float64) - base.astype(np.float64)).astype(np.float32)
            if not np.isfinite(vector).all():
                raise ValueError("the weights are too far from the announced ones for float32")
        before = states.part(state, prefix) or codec.init(len(base))
        bodies[name], after = codec.encode(vector, before, rng)
        remembered |= states.named(after, prefix)
    return bodies, remembered
