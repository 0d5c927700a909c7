"""Wrong buffers: what counts of updates from older models, in worlds with the schedule `buffered`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agent.core.lifecycle import announcement
from aggregator.aggregation import aggregate, updates
from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core import round_end, rounds
from aggregator.core.federation import Federation
from aggregator.core.per_device import PerDevice
from fleet.simulator.invariants import Invariant
from tests.world.streams import Step, over_core
from tests.world.variant import Patch, Stepped, Variants, noted_in

VARIANTS: Variants = {}
variant = noted_in(VARIANTS)


@variant(
    "an update that has counted counts again in the next version",
    Invariant.ONE_UPDATE_COUNTS,
    within=100,
    needs=["a buffer"],
)
def an_update_counted_in_two_versions(patch: Patch) -> None:
    """Neither the verdicts of earlier versions nor the versions that a device has answered are looked at."""

    def forgetful(step: Step, state: Any, event: Any) -> Stepped:
        if isinstance(event, on.FrameArrived):
            event = replace(event, verdict=None)
        if not isinstance(event, on.UpdateRead):
            return step(state, event)
        after, effects = step(replace(state, begun=PerDevice()), event)
        return after, effects

    over_core(patch, rounds, forgetful)


@variant(
    "a stale update counts as one from the newest model",
    Invariant.TRUE_BASE,
    within=20,
    needs=["a buffer"],
)
def a_wrong_base(patch: Patch) -> None:
    """The ledger does not keep for which version an update was made."""

    def unaware(step: Step, state: Any, event: Any) -> Stepped:
        after, effects = step(state, event)
        return after, [
            replace(each, answer=replace(each.answer, began=None))
            if isinstance(each, do.SaveAnswer)
            else each
            for each in effects
        ]

    over_core(patch, rounds, unaware)


@variant("a stale update is averaged as it is, not as a step", Invariant.MEAN, within=20, needs=["a buffer"])
def a_stale_update_taken_as_weights(patch: Patch) -> None:
    patch.setattr(updates, "moved", lambda _base, vector, _began: vector)


@variant("a stale update counts in full", Invariant.MEAN, within=20, needs=["a buffer"])
def staleness_not_discounted(patch: Patch) -> None:
    def undiscounted(weights: Sequence[int], _staleness: Sequence[int]) -> tuple[int, ...]:
        return tuple(weights)

    patch.setattr(aggregate, "discounted", undiscounted)


@variant(
    "updates count however old their base is",
    Invariant.STALENESS,
    within=300,
    needs=["a buffer"],
)
def staleness_without_a_bound(patch: Patch) -> None:
    def all_of_them(state: Federation) -> tuple[tuple[int, bytes], ...]:
        if state.model is None:
            return state.earlier
        return (*state.earlier, (state.round.round, state.model.digest))

    patch.setattr(round_end, "earlier_after", all_of_them)


@variant(
    "a device goes on with work that is too old to count",
    Invariant.ANSWERS_THE_NEWEST_ROUND,
    within=100,
    needs=["a buffer"],
)
def work_too_old_goes_on(patch: Patch) -> None:
    right = announcement.goes_on

    def stubborn(state: Any, manifest: Any) -> bool:
        lax = (
            manifest if manifest.max_staleness is None else manifest.model_copy(update={"max_staleness": 99})
        )
        return right(state, lax)

    patch.setattr(announcement, "goes_on", stubborn)
