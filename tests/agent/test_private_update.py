"""In a private round, an update tells nothing of the rows besides its weights."""

from dataclasses import replace
from pathlib import Path

from agent.trainers.assignment import Assignment
from fedge.algorithms.plan import Plan
from fedge.wire.messages.protection import Protection
from tests.agent.test_contribution import asked, done
from tests.agent.test_protection import PRIVACY


def private(assignment: Assignment) -> Assignment:
    told = assignment.manifest.model_copy(update={"protection": Protection(privacy=PRIVACY)})
    return replace(assignment, manifest=told, traffic={"sent_bytes": 7.0})


def test_only_the_weights_are_told(tmp_path: Path) -> None:
    _, plain = done(tmp_path, asked(Plan()))
    _, update = done(tmp_path, private(asked(Plan())))
    assert plain.samples > 1
    assert plain.steps > 1
    assert {"loss_before", "loss_after", "seconds"} <= plain.metrics.keys()
    assert (update.samples, update.steps, update.metrics) == (1, 1, {"sent_bytes": 7.0})
    assert update.body == plain.body
