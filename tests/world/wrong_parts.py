"""Wrong parts: rules, figures, claims, signatures."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import agent.shell.inbox
from aggregator.aggregation import aggregate, beginnings, figures, recomputation, summary, survey, updates
from aggregator.aggregation.aggregate import Aggregate, Unusable, usable
from aggregator.aggregation.probes import Trial
from aggregator.aggregation.updates import Updates
from aggregator.core import claims, vectors
from aggregator.core.claims import Known
from aggregator.core.usual_distance import MEAN, UsualDistance
from aggregator.core.verdicts import Verdict
from aggregator.ledger.reading import LedgerReader
from aggregator.phases import train
from fedge.algorithms.contribution import Contribution
from fedge.algorithms.protocols import WEIGHTS
from fedge.algorithms.rules import mean
from fedge.algorithms.rules.bounds import Bounds, Factors, bounds
from fedge.algorithms.rules.columns import pooled
from fedge.wire.freshness import RoundId
from fedge.wire.messages.fields import MAX_COUNTER
from fedge.wire.reasons import Reason
from fleet.simulator.invariants import Invariant
from fleet.simulator.oracle import Made
from fleet.simulator.oracle.summaries import Summaries
from tests.world.variant import Patch, Variants, noted_in

VARIANTS: Variants = {}
variant = noted_in(VARIANTS)


@variant("the mean is summed in the order of arrival, in float32", Invariant.MEAN, within=20)
def sum_in_order_of_arrival_in_float32(patch: Patch) -> None:
    def finish(contributions: list[Contribution], *_dtype: object) -> tuple[Any, int]:
        samples = sum(contribution.samples for contribution in contributions)
        total = np.zeros_like(contributions[0].vector)
        for contribution in contributions:
            total += np.float32(contribution.samples) * contribution.vector
        return total / np.float32(samples), samples

    patch.setattr(mean, "partial", list)
    patch.setattr(mean, "finish", finish)


@variant(
    "the aggregator does not clip updates that are far from the model",
    Invariant.MEAN,
    within=40,
    needs=["a lying member"],
)
def differences_not_clipped(patch: Patch) -> None:
    over_bounds(patch, clip_norm=0.0)


@variant("the aggregator does not cap n_k", Invariant.MEAN, within=200)
def n_k_not_capped(patch: Patch) -> None:
    over_bounds(patch, max_weight=0.0)


def over_bounds(patch: Patch, **changes: float) -> None:
    def lax(
        norms: Sequence[float], samples: Sequence[int], factors: Factors, *whole: Any, **further: Any
    ) -> Bounds:
        return bounds(norms, samples, replace(factors, **changes), *whole, **further)

    patch.setattr(aggregate, "bounds", lax)


@variant(
    "the aggregator admits updates at any distance from the model",
    Invariant.DISTANCE,
    within=40,
    needs=["a lying member"],
)
def updates_admitted_from_any_distance(patch: Patch) -> None:
    patch.setattr(vectors, "distance", lambda _start, _vector: 0.0)


@variant(
    "after a round of two updates only the shorter one says what is usual",
    Invariant.DISTANCE,
    Invariant.PROGRESS,
    within=600,
    needs=["a composition", "a lying member", "a low quorum", "an adaptive server"],
)
def the_shorter_of_two_is_usual(patch: Patch) -> None:
    """A liar that sends nearly nothing keeps the others out, where their way is long."""
    right = UsualDistance.after

    def by_medians(usual: UsualDistance, summary: Mapping[str, float]) -> UsualDistance:
        return right(usual, {key: summary[key] for key in summary if not key.startswith(MEAN)})

    patch.setattr(UsualDistance, "after", by_medians)


@variant("the aggregator closes a round with an unusable mean", Invariant.MODEL_USABLE, within=100)
def a_mean_taken_that_is_not_usable(patch: Patch) -> None:
    patch.setattr(Trial, "passes", lambda _trial, _vector: True)


@variant("the aggregator counts an update that was set aside", Invariant.MEAN, within=200)
def an_update_counted_that_was_set_aside(patch: Patch) -> None:
    def whole(ledger: LedgerReader, round_id: RoundId, _without: Any = ()) -> dict[str, Verdict]:
        return {
            device: answer
            for device, answer in ledger.answers(round_id).items()
            if answer.verdict == "admitted" or answer.reason is Reason.SET_ASIDE
        }

    def once(found: Updates, base: Any, factors: Factors, *others: Any) -> Aggregate | Unusable:
        if any(answer.reason is Reason.SET_ASIDE for answer in found.answers.values()):
            return aggregate.aggregate(found, base, factors)
        return usable(found, base, factors, *others)

    patch.setattr(updates, "admitted", whole)
    patch.setattr(train, "usable", once)


@variant(
    "figures are weighted by the held-out counts that devices claim",
    Invariant.END_OF_LEARNING,
    within=200,
    needs=["a lying member"],
)
def figures_believed(patch: Patch) -> None:
    """An accuracy is the mean by the number of rows that each device claims to hold out."""

    def believe(answers: Mapping[str, Verdict], _needed: int, _count: int) -> dict[str, float]:
        told = [answer.metrics for answer in answers.values() if "accuracy_before" in answer.metrics]
        held = sum(metrics.get("held_out", 0.0) for metrics in told)
        if not held:
            return {}
        total = sum(metrics["accuracy_before"] * metrics.get("held_out", 0.0) for metrics in told)
        return {"accuracy": total / held}

    patch.setattr(summary, "summarize", believe)
    patch.setattr(Summaries, "require", _note_accuracies)


@variant(
    "a figure that one device reports counts for the fleet",
    Invariant.FIGURES,
    within=100,
    needs=["a short deadline", "a slow device"],
)
def one_word_is_the_fleets(patch: Patch) -> None:
    """A figure counts however few devices report it."""
    patch.setattr(figures, "suffice", lambda _telling, _admitted: True)


@variant(
    "the last model's figures come from one of the devices that made it",
    Invariant.FIGURES,
    within=100,
    needs=["a short deadline", "a slow device"],
)
def a_last_model_measured_by_one_word(patch: Patch) -> None:
    """The number of devices that made the model is ignored, so that one report suffices."""
    told = summary.told
    patch.setattr(summary, "told", lambda job, answers, _count=0: told(job, answers))


def _note_accuracies(
    self: Summaries, ledger: LedgerReader, round_id: RoundId, made: list[Made], _count: int
) -> None:
    """Note the reported accuracies, but leave out the check that would find this mistake too early."""
    self.endings.note(round_id, made)


@variant(
    "the next generation follows the highest one that any device claims",
    Invariant.GENERATION_IN_REACH,
    within=100,
    needs=["a lying member", "ledger wiped", "new generation"],
)
def claims_believed_however_far(patch: Patch) -> None:
    """The next generation follows the newest one that any single device claims to have seen."""

    def after_all(known: Known, claimed: Mapping[str, RoundId], *_verdict: Any, signed: bool) -> int:
        newest = max([known.round or RoundId(0, 0), *claimed.values()])
        return min(newest.generation + 1, MAX_COUNTER)

    patch.setattr(claims, "next_generation", after_all)


@variant(
    "one device's claim suffices to treat the ledger as older than the fleet",
    Invariant.GIVES_UP_WITH_REASON,
    within=100,
    needs=["a lying member"],
)
def one_claim_believed(patch: Patch) -> None:
    """A ledger is older than the fleet as soon as a single device says so."""
    right = claims.assess

    def hasty(*values: Any) -> claims.Assessment:
        verdict = right(*values)
        return replace(verdict, outcome="behind", open=False) if verdict.newer else verdict

    patch.setattr(claims, "assess", hasty)


@variant("surveys are weighted by sample count instead of by device", Invariant.STANDARDIZATION, within=20)
def surveys_merged_by_samples(patch: Patch) -> None:
    for rule in (survey.RULE, survey.CLIPPED, survey.EXACT):
        patch.setitem(survey.RULES, rule, pooled)  # type: ignore[attr-defined]


@variant(
    "a generation begun without a device averages its updates again",
    Invariant.BEGINNING,
    within=600,
    needs=["a bad model"],
)
def a_device_that_is_left_out_averaged_again(patch: Patch) -> None:
    def with_it(*values: Any, without: Any = (), **others: Any) -> Updates:
        return Updates(*values, **others)

    patch.setattr(recomputation, "Updates", with_it)


@variant(
    "a generation begun without a device takes the later means unchanged",
    Invariant.BEGINNING,
    within=1_000,
    needs=["a bad model"],
)
def rounds_since_not_moved_to_the_model_gone_back_to(patch: Patch) -> None:
    """The means of the others are used unchanged, with the influence of the models they began from."""

    def last(ledger: Any, beginning: Any, size: int, samples: Any) -> Any:
        here = beginning.source._replace(round=beginning.last)
        made = beginnings.made_by(ledger, here, size, beginning.without)
        models = {WEIGHTS: made.vector, **made.vectors}
        return {name: models[name] for name in beginnings.parts_of(ledger, here).models}

    patch.setattr(beginnings, "_again", last)


@variant("devices do not check signatures", Invariant.WORK_IN_TIME, within=100, needs=["lies"])
def signatures_not_checked(patch: Patch) -> None:
    patch.setattr(
        agent.shell.inbox, "authenticate", lambda _envelope, _kind, _topics, signers, _verify: signers
    )
