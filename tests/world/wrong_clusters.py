"""Wrong programs where there are several shared models."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aggregator.aggregation import aggregate, generations
from aggregator.aggregation.beginnings import Begun
from aggregator.aggregation.updates import Updates
from fedge.algorithms.personal.clusters import Clusters
from fedge.algorithms.protocols import Start
from fedge.algorithms.rules.bounds import Bounds, Factors
from fleet.simulator.invariants import Invariant
from tests.world.variant import Patch, Variants, noted_in

VARIANTS: Variants = {}
variant = noted_in(VARIANTS)


@variant(
    "a device trains one shared model and tells the number of the first",
    Invariant.LEARNING,
    within=20,
    needs=["clusters"],
)
def a_cluster_that_is_not_told(patch: Patch) -> None:
    right = Clusters.start

    def untold(*given: Any) -> Start:
        return replace(right(*given), cluster=0)

    patch.setattr(Clusters, "start", untold)


@variant(
    "all updates count for the first shared model",
    Invariant.MEAN,
    within=20,
    needs=["clusters"],
)
def all_updates_of_one_cluster(patch: Patch) -> None:
    patch.setattr(Updates, "clusters", lambda self: dict.fromkeys(self.answers, 0))


@variant(
    "a shared model of few updates is bounded by these alone",
    Invariant.MEAN,
    Invariant.INFLUENCE,
    within=20,
    needs=["clusters"],
)
def few_updates_bounded_by_themselves(patch: Patch) -> None:
    right = aggregate.bounds

    def alone(
        norms: Sequence[float], samples: Sequence[int], factors: Factors, _whole: object, **further: bool
    ) -> Bounds:
        return right(norms, samples, factors, **further)

    patch.setattr(aggregate, "bounds", alone)


@variant(
    "a generation that keeps the model begins with copies of the first shared model",
    Invariant.BEGINNING,
    within=60,
    needs=["clusters", "new generation"],
)
def one_shared_model_kept_for_all(patch: Patch) -> None:
    right = generations.begin_with

    def first(*given: Any) -> Begun:
        begun = right(*given)
        return replace(begun, clusters=dict.fromkeys(begun.clusters, begun.vector))

    patch.setattr(generations, "begin_with", first)
