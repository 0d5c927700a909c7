"""Check a round's figures and a survey's layers against what the slow twins compute from the reports."""

from collections.abc import Sequence
from math import isclose

import numpy as np

from aggregator.aggregation.survey import CLIP, CLIPPED, EXACT
from aggregator.ledger.reading import LedgerReader
from fedge.data.moments import Moments
from fedge.nn.affine import Affine
from fedge.wire.capabilities import BASE
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_SIZE
from fedge.wire.messages.message import unpack
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.messages.update import Update
from fleet.simulator.figures import FIGURES, plain_column, plain_counts, plain_figures
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.endings import Endings
from fleet.simulator.oracle.record import Made, Record


class Summaries:
    """Checks the figures and layers of closed rounds."""

    def __init__(self, record: Record, endings: Endings) -> None:
        self._record, self.endings = record, endings

    def require(self, ledger: LedgerReader, round_id: RoundId, made: list[Made], count: int) -> None:
        """Check that a round's figures follow from its updates, and a survey's layers from its surveys.

        For a round that only measures, `count` is half the number of devices that made its model, and at
        least 2 if there were two.
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
                    Invariant.FIGURES, f"the {name} of round {round_id} is {here}; its updates give {value}"
                )
        for name, number in plain_counts(updates).items():
            if found.get(name, 0) != number:
                raise Violation(
                    Invariant.FIGURES,
                    f"{name} of round {round_id} is {found.get(name, 0)}; its updates give {number}",
                )
        ended = sum(update.metrics.get("partial", 0) for update in updates)
        if found.get("partial", 0) != ended:
            raise Violation(
                Invariant.FIGURES,
                f"{found.get('partial', 0)} devices ended round {round_id} early; its updates say {ended}",
            )
        self.endings.note(round_id, made)
        surveys = [one.message for one in made if isinstance(one.message, Survey)]
        if surveys:
            task, layer = self._layer(ledger, round_id, {survey.device for survey in surveys})
            self._columns(round_id, surveys, task, layer)

    def _layer(self, ledger: LedgerReader, round_id: RoundId, told: set[str]) -> tuple[Task, Affine]:
        """Check that inputs are clipped, and are float64, only if all honest devices support it."""
        digest = ledger.newest("task", round_id.generation)
        assert digest is not None
        task = unpack(ledger.content(digest), Task, max_bytes=MAX_SIZE)
        layer = task.network.first
        assert layer is not None
        can = ledger.abilities()
        unable = sorted(device for device in told - self._record.liars if CLIP not in can.get(device, BASE))
        rule = ledger.rule(round_id)
        if layer.takes_float64 != (rule == EXACT):
            raise Violation(
                Invariant.STANDARDIZATION,
                f"inputs are float64 exactly after the rule {EXACT}; {rule} closed this survey",
            )
        clipped = rule == CLIPPED or (rule == EXACT and layer.bound is not None)
        if (layer.bound is not None) != clipped or (layer.bound and unable):
            raise Violation(
                Invariant.STANDARDIZATION,
                f"inputs are clipped at {layer.bound}, but {unable} cannot do it",
            )
        return task, layer

    def _columns(self, round_id: RoundId, surveys: Sequence[Survey], task: Task, layer: Affine) -> None:
        """Check each column's mean and scale against the twin, and its mean against the honest devices'."""
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
                    f"generation {round_id.generation}; the twin computes {mean} ± {spread}",
                )
