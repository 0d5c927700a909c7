"""Score the model after each round on the held-out parts of all devices, class by class.

In the field each device reports one figure, and the aggregator takes a mean that a single liar cannot move
far. Here all data are on the same machine, so the models in the ledger can be scored exactly and by class.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from agent.data.model_scores import scores_of
from aggregator.aggregation.models import vector_of
from aggregator.ledger.reading import read_only
from fedge.data.scores import Classification, Regression
from fedge.nn import Network
from fedge.wire.freshness import RoundId
from fedge.wire.messages.task import Task
from fleet.demo.figure import figure_of
from fleet.demo.verification import Inputs


@dataclass(frozen=True)
class RoundScores:
    """A model, scored."""

    round: int
    """The round that made it; 0: the first weights."""
    value: float
    """The figure of the task."""
    scores: Classification | Regression

    def as_json(self) -> dict[str, Any]:
        """The figures under the names that scripts may rely on; null where one is undefined."""
        scores = self.scores
        if isinstance(scores, Regression):
            return {"round": self.round, "rmse": scores.rmse[0], "mae": scores.mae[0]}
        recall = dict(zip(scores.classes, scores.recall, strict=True))
        return {"round": self.round, "accuracy": scores.accuracy, "recall": recall}


def history(ledger: Path, task: Task, X: Inputs, y: NDArray[Any]) -> Sequence[RoundScores]:
    """Score the models that a ledger still keeps of its newest generation, oldest first.

    Args:
        ledger: the file of an aggregator that has ended.
        task: with the layers that the survey has fixed.
        X: held-out parts, one after the other, of shape (h, d), missing values filled.
        y: their answers, as in `Dataset.y`.

    Raises:
        StateError: the ledger cannot be read, or is damaged.
    """
    network, found = Network(task.network), []
    with read_only(ledger) as reader:
        life = reader.meta()
        if life is None:
            return ()
        for number in reader.kept_models(life.generation):
            which = RoundId(life.generation, number)
            digest = reader.model_of(which)
            if digest is None or reader.only_measured(which):
                continue
            outputs = network.predict(vector_of(reader, digest, task.network.schema.size), X)
            found.append(RoundScores(number, figure_of(task).of(outputs, y), scores_of(task, y, outputs)))
    return tuple(found)
