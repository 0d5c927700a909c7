"""The masked training phase: devices promise an update, and only the sum of the updates is ever seen.

Admission takes promises. When the round would close, `aggregator.core.exchange` has the devices that have
promised mask their updates, and closing takes the masks off their sum. It becomes the mean of the changes:
with levels q_k in -L…L and weights a_k,

    w' = w + (clip / L) · Σ a_k q_k / Σ a_k,

in float64, rounded once to float32. |q_k| ≤ L, so no weight moves by more than `clip` in a round, whatever
devices send: a sum beyond that is not used. With groups, w' is what the rule makes of the groups' means. Then
the server optimizer makes the next model of w'.
"""

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from aggregator.aggregation import masked_mean, unmasking
from aggregator.aggregation.aggregate import Unmade, Unusable, Vector
from aggregator.aggregation.job import ClosingJob, Computed, Remark
from aggregator.aggregation.models import blob_of, weights_of
from aggregator.aggregation.past import LedgerPast
from aggregator.aggregation.probes import Trial
from aggregator.aggregation.weighed import apart, named
from aggregator.core import grouping
from aggregator.core.admission import Admitted, Terms
from aggregator.core.progress import Progress
from aggregator.core.usual_distance import UsualDistance
from aggregator.core.verdicts import Weighed
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.records import MaskedSum
from aggregator.phases.phase import Phase
from fedge.algorithms.registry import Entry
from fedge.algorithms.rules.bounds import distance
from fedge.errors import DamagedState
from fedge.frozen import replace
from fedge.masking.round_messages import Promise
from fedge.wire.models import model_message
from fedge.wire.reasons import Rejection

if TYPE_CHECKING:  # so that `--check` needs no extra; its maps do
    from aggregator.core.federation import Federation

VOID = "void"
"""The entry in the summary of a round without a sum, which closes with the model that it began with."""


class Masked(Phase):
    """Every device trains from the model by the plan, and nobody sees its update."""

    name: ClassVar[str] = "masked"
    message: ClassVar[type[Promise]] = Promise
    trains: ClassVar[bool] = True
    needs_quorum: ClassVar[bool] = True
    done_as: ClassVar[str] = "train"

    def judge(self, terms: Terms, message: Promise) -> Admitted | Rejection:
        """Admit a promise; its weight is told to nobody."""
        return Admitted(1)

    def close(
        self, ledger: LedgerReader, job: ClosingJob, go_on: Callable[[], None]
    ) -> Computed | Unusable | Unmade:
        """Close with the next model, or with the same one if there is no sum."""
        assert job.model is not None
        base = weights_of(ledger, job.model, job.task.network.schema.size)
        if job.exchange is not None:
            needed, prefix = grouping.needed(job.parts.rule), f"round {job.round}: "
            ended = unmasking.unmasked(job.exchange, needed, go_on, prefix)
            sum_, remarks = _declared(job, ended.found, ended.remarks)
            made = _closed(ledger, job, base, sum_)
            if job.shares is not None and made.inputs is None:
                # Devices have revealed their shares, so the noised sum may be known, also if it is not used.
                unused = masked_mean.inputs_of_unused(job.round, job.model.digest, job.exchange.terms.cohort)
                made = replace(made, inputs=unused)
            return replace(made, masked=sum_, before=(*remarks, *made.before))
        found = ledger.masked_sum(job.round)
        if found is None:
            raise DamagedState(f"the sum of round {job.round} is missing in the ledger")
        return _closed(ledger, job, base, found)

    def job(self, state: "Federation") -> Mapping[str, Any]:
        """The attempt whose masks are taken off, and the noise that its devices share."""
        return {"exchange": state.exchange, "shares": state.masking.noise if state.masking else None}

    def progress(self, progress: Progress, summary: Mapping[str, float]) -> Progress:
        """The progress after one more training round; one without a sum does not count."""
        if VOID in summary:
            return replace(progress, last=progress.last + 1)
        return progress.after(summary)

    def usual(self, usual: UsualDistance, summary: Mapping[str, float]) -> UsualDistance:
        """Unchanged: nobody knows how far single updates are."""
        return usual


def _declared(
    job: ClosingJob, found: MaskedSum, remarks: tuple[Remark, ...]
) -> tuple[MaskedSum, tuple[Remark, ...]]:
    """The sum as it counts; without levels if it lacks the declared noise."""
    if job.shares is None:
        return found, remarks
    counts = masked_mean.as_declared(found, job.shares)
    if isinstance(counts, MaskedSum):
        return counts, remarks
    void = MaskedSum(0, found.value_bits, found.clip, (), None)
    return void, (*remarks, (logging.ERROR, f"round {job.round}: {counts}; its model stays as it was"))


def _closed(ledger: LedgerReader, job: ClosingJob, base: Vector, found: MaskedSum) -> Computed:
    """The outcome of a round with this sum."""
    assert job.model is not None
    if found.levels is None:
        return _void(job, base)
    inputs = None if job.shares is None else masked_mean.inputs_of(job.round, job.model.digest, found)
    past, part = LedgerPast(ledger, job), job.parts.rule
    made = masked_mean.made_of(part, found, base)
    vector, state = masked_mean.stepped_from(past, job, base, made.vector)
    if not Trial(job.task.network, base, job.samples).passes(vector):
        text = "the sum of the masked updates makes a model whose outputs are not finite"
        void = replace(_void(job, base), inputs=inputs)  # the sum is known, so it is paid for
        return replace(void, before=((logging.ERROR, f"round {job.round}: {text}"),))
    data = model_message(job.round, vector, {})
    moved = distance(base, vector)
    weighed = _weighed(job, made, past) if found.groups else {}
    return Computed(
        task=job.task,
        task_blob=job.task_blob,
        task_data=None,
        model=blob_of(data, 1 - job.model.slot),
        model_data=data,
        devices=len(found.devices),
        samples=found.weight if job.shares is None else len(found.devices),
        summary={
            "weight_change": moved / max(distance(np.zeros_like(base), base), 1e-38),
            "moved": moved,
        },
        vector=vector,
        rule=masked_mean.PRIVATE
        if job.shares is not None
        else masked_mean.rule_of(part, grouped=bool(found.groups)),
        inputs=inputs,
        told={"survivors": list(found.devices), **_told(found)},
        state=state,
        weighed=weighed,
        after=tuple((logging.WARNING, f"round {job.round}: {line}") for line in named(weighed)),
    )


def _told(found: MaskedSum) -> dict[str, Any]:
    return {"groups": [list(group.devices) for group in found.groups]} if found.groups else {}


def _weighed(job: ClosingJob, made: masked_mean.Made, past: LedgerPast) -> dict[str, Weighed]:
    """How much each group's mean counted, by device; nothing of a device whose group has no sum."""
    admitted = (device for device, answer in job.answers.items() if answer.verdict == "admitted")
    none = {device: Weighed(0.0, 0.0, 0) for device in admitted}
    return none | apart(made.counted, made.distances, past.far_running)


def _void(job: ClosingJob, base: Any) -> Computed:
    """The outcome of a round that closes with the model that it began with."""
    assert job.model is not None
    return Computed(
        task=job.task,
        task_blob=job.task_blob,
        task_data=None,
        model=job.model,
        model_data=None,
        devices=0,
        samples=0,
        summary={VOID: 1.0},
        vector=base,
        rule=masked_mean.RULE if job.shares is None else masked_mean.PRIVATE,
    )


ENTRY = Entry("phase", "masked", Masked)
