"""The figures of a round, and the layers of a survey, are what slow twins make of what was told."""

from collections.abc import Sequence
from math import isclose

import numpy as np

from aggregator.aggregation.survey import CLIP, CLIPPED, EXACT
from aggregator.ledger.reading import LedgerReader
from fedge.data.moments import Moments
from fedge.nn.spec import Standardize
from fedge.wire.capabilities import BASE
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fleet.simulator.figures import FIGURES, plain_column, plain_figures
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.endings import Endings
from fleet.simulator.oracle.record import Made, Record


class Summaries:
    """What closed rounds brought."""

    def __init__(self, record: Record, endings: Endings) -> None:
        self._record, self.endings = record, endings

    def require(self, ledger: LedgerReader, round_id: RoundId, made: list[Made], count: int) -> None:
        """What the round brought is what its updates told, and its survey's layers are what those give.

        Of a round that only measures, `count` is half of those who have made its model, and not one of two.
        """
        updates = [one.message for one in made if isinstance(one.message, Update)]
        found = ledger.summary(round_id)
        plain = plain_figures(updates, count)
        for name, _, _ in FIGURES:
            here, value = found.get(name), plain.get(name)
            if (here is None) != (value is None) or not isclose(
                here or 0, value or 0, rel_tol=1e-9, abs_tol=1e-12
            ):
                raise Violation(
                    Invariant.FIGURES, f"the {name} of round {round_id} is {here}, and {value} was told"
                )
        self.endings.note(round_id, made)
        surveys = [one.message for one in made if isinstance(one.message, Survey)]
        if surveys:
            task, layer = self._layer(ledger, round_id, {survey.device for survey in surveys})
            self._columns(round_id, surveys, task, layer)

    def _layer(self, ledger: LedgerReader, round_id: RoundId, told: set[str]) -> tuple[Task, Standardize]:
        """The inputs are clipped, and float64, only where all honest devices can do it."""
        digest = ledger.newest("task", round_id.generation)
        assert digest is not None
        task = unpack(ledger.content(digest), Task, max_bytes=MAX_SIZE)
        layer = task.network.layers[0]
        assert isinstance(layer, Standardize)
        can = ledger.abilities()
        unable = sorted(device for device in told - self._record.liars if CLIP not in can.get(device, BASE))
        rule = ledger.rule(round_id)
        if (layer.rest is not None) != (rule == EXACT):
            raise Violation(
                Invariant.STANDARDIZATION,
                f"inputs are float64 after a survey that {rule} closed, or not after {EXACT}",
            )
        clipped = rule == CLIPPED or (rule == EXACT and layer.clip is not None)
        if (layer.clip is not None) != clipped or (layer.clip and unable):
            raise Violation(
                Invariant.STANDARDIZATION,
                f"inputs are clipped at {layer.clip}, and {unable} cannot do it",
            )
        return task, layer

    def _columns(self, round_id: RoundId, surveys: Sequence[Survey], task: Task, layer: Standardize) -> None:
        """Each column is scaled as its twin says, and has a mean within what honest devices say."""
        moments = [Moments.from_bytes(survey.features, len(task.features)) for survey in surveys]
        for j, name in enumerate(task.features):
            mean, spread = plain_column(moments, j)
            honest = [
                float(one.mean[j])
                for survey, one in zip(surveys, moments, strict=True)
                if survey.device not in self._record.liars and one.count[j] > 0
            ]
            far = max(min(honest) - layer.means[j], layer.means[j] - max(honest), 0) if honest[1:] else 0
            if far > 1e-6 * abs(layer.means[j]):
                raise Violation(
                    Invariant.STANDARDIZATION,
                    f"column {name!r} has the mean {layer.means[j]}, far from {honest}",
                )
            close = np.isclose(layer.means[j], mean, rtol=1e-6, atol=1e-30)
            if not close or (spread > 1e-3 and not np.isclose(layer.scales[j], spread, rtol=1e-6)):
                raise Violation(
                    Invariant.STANDARDIZATION,
                    f"column {name!r} is {layer.means[j]} ± {layer.scales[j]} after the survey of "
                    f"generation {round_id.generation}, and {mean} ± {spread} is what it gives",
                )
