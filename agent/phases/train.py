"""Training: devices train on their rows and send an update."""

import logging
from functools import partial
from typing import ClassVar

from agent.core.protection import withholds
from agent.phases.phase import Cancelled, Contribution, Equipment
from agent.trainers import states
from agent.trainers.assignment import Assignment
from agent.trainers.built_in import BuiltIn
from agent.trainers.choice import Array
from agent.trainers.figures import finite, measured
from agent.trainers.personal import Own
from agent.trainers.time_limit import Allowance, Timekeeper
from agent.trainers.vectors import check, encoded, received, require_half
from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.local.shuffling import generator
from fedge.algorithms.registry import CODECS, LOCAL, Entry
from fedge.algorithms.trainer import Job, Trained, Trainer
from fedge.frozen import replace
from fedge.nn.spec import clip_of
from fedge.wire.freshness import round_of
from fedge.wire.messages.update import DELTA, WEIGHTS, Update

log = logging.getLogger(__name__)


class Train:
    """The round asks for training as the plan describes."""

    name: ClassVar[str] = "train"
    needs_model: ClassVar[bool] = True
    needs_state: ClassVar[bool] = True
    tells_data: ClassVar[bool] = False

    def contribute(self, assignment: Assignment, equipment: Equipment, cancelled: Cancelled) -> Contribution:
        """Return the update, and the algorithm's state to keep once the update is admitted."""
        manifest, weights, plan = assignment.manifest, assignment.weights, assignment.manifest.plan
        assert manifest.model is not None
        assert plan is not None
        assert weights is not None
        settings, dataset, network = equipment.settings, equipment.dataset, equipment.network()
        own = Own(assignment, plan, equipment, cancelled)
        lineage = states.lineage_of(
            manifest, plan, settings.trainer.use or "", divided=own.shared is not None
        )
        before = states.current(assignment.state, lineage, manifest)
        job = Job(
            network,
            received(assignment, own.start.weights, plan),
            network.prepare(dataset.X),
            network.prepare_targets(dataset.y),
            plan,
            generator(manifest.seed, manifest.generation, manifest.round, settings.device),
            states.part(before or {}, "local/"),
        )
        job, within = _within(settings.limits.seconds, job, cancelled, equipment.trainer)
        require_half(equipment.trainer, plan)
        trained = equipment.trainer.work(job, within)
        check(trained, weights, plan)
        codec = CODECS.make(plan.codec, plan.codec_options)
        sent, base = trained.vectors, own.start.weights
        if own.shared is not None:
            sent, base = {name: vector[own.shared] for name, vector in sent.items()}, base[own.shared]
        seed = partial(vector_seed, manifest.seed, *round_of(manifest), settings.device)
        bodies, remembered = encoded(codec, sent, base, before or {}, seed, own.start.cluster)
        after = {**states.named(trained.state, "local/"), **remembered}
        pending = states.kept_after(after, before, assignment.state, lineage, round_of(manifest))
        metrics = _figures(assignment, equipment, trained, own.start.weights)
        if pending is not None and before is None:
            metrics["state_new"] = 1.0
        if isinstance(job.enough, Allowance) and job.enough.used_up:
            log.info(
                "round %s: training ended early, after %d of %d steps: [limits] seconds is %g",
                round_of(manifest),
                trained.steps,
                plan.steps(len(job.X)),
                job.enough.limit_s,
            )
            metrics["partial"] = 1.0
        outcome = own.finish(trained.vector)
        metrics |= outcome.metrics
        metrics["seconds"] = equipment.seconds()
        # Differential privacy is paid for the clipped weights alone; nothing else is told of the rows.
        private = withholds(settings.trust, manifest)
        update = Update(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.model.digest,
            device=settings.device,
            samples=1 if private else len(dataset.X),
            steps=1 if private else trained.steps,
            kind=DELTA if codec.encodes == "change" else WEIGHTS,
            codec=plan.codec,
            body=bodies.pop(WEIGHTS),
            vectors=bodies or None,
            cluster=own.start.cluster or None,
            metrics=dict(assignment.traffic) if private else finite(metrics),
        )
        return Contribution(update, pending, outcome.state)


def _figures(
    assignment: Assignment, equipment: Equipment, trained: Trained, began: Array
) -> dict[str, float]:
    """Return the figures about the training that the update reports, except its duration.

    Args:
        assignment: the round.
        equipment: the device's parts.
        trained: the result of the training.
        began: the weights that it began from, of shape (p,).
    """
    dataset, network, extremes = equipment.dataset, equipment.network(), equipment.extremes
    metrics = {
        "loss_before": trained.loss_before,
        "loss_after": trained.loss_after,
        **assignment.traffic,
    }
    if len(dataset.held_X):
        metrics["held_out"] = float(len(dataset.held_X))
        if assignment.task.classes is not None:
            metrics["held_unseen"] = float(dataset.held_unseen)
        for when, vector in (("before", began), ("after", trained.vector)):
            metrics |= measured(network, vector, dataset, when)
    if clip_of(assignment.task.network) is not None:
        metrics["clipped"] = float(extremes.rows if extremes is not None else 0)
    return metrics


def _within(limit_s: float | None, job: Job, cancelled: Cancelled, trainer: Trainer) -> tuple[Job, Cancelled]:
    """Return job and `cancelled` so that one of them keeps the owner's `[limits] seconds`.

    If the algorithm can send the steps that are done by then, `job.enough` ends training. Otherwise, and with
    a trainer of the owner's own, `cancelled` raises, and the device declines.
    """
    if limit_s is None:
        return job, cancelled
    plan = job.plan
    local = LOCAL.make(plan.local_name, plan.local_options)
    # A part from outside may not derive from the protocol's class, and then may lack `partial`.
    if isinstance(trainer, BuiltIn) and getattr(local, "partial", False):
        return replace(job, enough=Allowance(limit_s)), cancelled
    return job, Timekeeper(cancelled, plan.steps(len(job.X)), limit_s)


ENTRY = Entry("phase", "train", Train)
