"""The phase at the end of learning: devices evaluate the newest model on held-out rows and do not train."""

from typing import ClassVar

from agent.phases.phase import Cancelled, Contribution, Equipment
from agent.trainers.assignment import Assignment
from agent.trainers.figures import finite, measured
from agent.trainers.personal import Own
from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import Entry
from fedge.wire.messages.update import FIGURES, Update


class Evaluate:
    """The round asks each device to evaluate a model."""

    name: ClassVar[str] = "evaluate"
    needs_model: ClassVar[bool] = True
    needs_state: ClassVar[bool] = False
    tells_data: ClassVar[bool] = False

    def contribute(self, assignment: Assignment, equipment: Equipment, cancelled: Cancelled) -> Contribution:
        """Return the model's figures on the held-out rows, without vectors; adapt the device's own models to
        it, if the round names a plan."""
        manifest, weights, dataset = assignment.manifest, assignment.weights, equipment.dataset
        assert manifest.model is not None
        assert weights is not None
        metrics = dict(assignment.traffic)
        own = Own(assignment, manifest.plan or Plan(), equipment, cancelled)
        if len(dataset.held_X):
            metrics["held_out"] = float(len(dataset.held_X))
            metrics |= measured(equipment.network(), own.start.weights, dataset, "before")
        outcome = own.finish(None)
        metrics |= outcome.metrics
        metrics["seconds"] = equipment.seconds()
        update = Update(
            generation=manifest.generation,
            round=manifest.round,
            base=manifest.model.digest,
            device=equipment.settings.device,
            samples=len(dataset.X),
            steps=0,
            kind=FIGURES,
            codec="float32",
            body=b"",
            metrics=finite(metrics),
        )
        return Contribution(update, personal=outcome.state)


ENTRY = Entry("phase", "evaluate", Evaluate)
