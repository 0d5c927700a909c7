"""The survey: devices describe their columns and classes, so that all devices scale their inputs alike."""

from typing import ClassVar

from agent.config import AgentSettings
from agent.data.snapshot import Snapshot
from agent.phases.phase import Cancelled, Contribution, Equipment
from agent.trainers.assignment import Assignment
from fedge.algorithms.registry import Entry
from fedge.data.moments import FEWEST, as_if_of, withhold
from fedge.wire.messages.survey import Survey as Message


class Survey:
    """The round asks for counts, means and deviations."""

    name: ClassVar[str] = "survey"
    needs_model: ClassVar[bool] = False
    needs_state: ClassVar[bool] = False
    tells_data: ClassVar[bool] = True

    def contribute(self, assignment: Assignment, equipment: Equipment, cancelled: Cancelled) -> Contribution:
        """Return the survey of the snapshot."""
        assert equipment.snapshot is not None
        return Contribution(survey_of(assignment, equipment.snapshot, equipment.settings))


def survey_of(assignment: Assignment, snapshot: Snapshot, settings: AgentSettings) -> Message:
    """Return the moments of each column and the count of each class, scaled down to `max_samples` rows if
    there are more.

    Args:
        assignment: a round of this phase.
        snapshot: the measurements to report of the source that the task names.
        settings: the configuration.
    """
    manifest, task = assignment.manifest, assignment.task
    features, targets = snapshot.tell(task)
    offered = settings.offered[assignment.source]
    told = snapshot.mix if task.classes else None
    samples, cap = snapshot.samples, manifest.max_samples
    if cap is not None and samples > cap:
        features = as_if_of(features, samples, cap)
        targets = as_if_of(targets, samples, cap) if targets is not None else None
        told = told.as_if_of(samples, cap) if told is not None else None
        samples = cap
    return Message(
        generation=manifest.generation,
        round=manifest.round,
        base=manifest.task.digest,
        device=settings.device,
        samples=samples,
        features=withhold(features, FEWEST).to_bytes(),
        targets=withhold(targets, FEWEST).to_bytes() if targets is not None else b"",
        classes=told.tell(task.classes or (), offered.first_class) if told is not None else None,
        metrics=assignment.traffic,
    )


ENTRY = Entry("phase", "survey", Survey)
