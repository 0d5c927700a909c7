"""A training round of several shared models: each is made from the updates of the devices that trained it.

A cluster with fewer updates than the rule needs (`fedge.algorithms.protocols.Rule.fewest`; a mean needs one)
keeps its model: of fewer the rule cannot keep its promise, and the liars of a round may all be in this
cluster. Where no cluster has enough, the round makes no model.

The updates of a cluster of fewer than five devices are bounded by the medians of the whole round
(`fedge.algorithms.rules.bounds`). The server optimizer makes a step for each cluster; it is one without state
(the needs of `fedge.algorithms.personal.clusters`).
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import server_state
from aggregator.aggregation.aggregate import (
    Aggregate,
    Unmade,
    Unusable,
    aggregate,
    sizes_of,
    usable,
)
from aggregator.aggregation.fleet_size import share_of
from aggregator.aggregation.updates import Updates
from aggregator.core.parts import Parts
from aggregator.ledger.reading import LedgerReader
from fedge.algorithms.contribution import order
from fedge.algorithms.protocols import Rule
from fedge.algorithms.registry import CODECS, RULES, SERVER
from fedge.algorithms.rules.bounds import Factors, Medians
from fedge.wire.freshness import RoundId

Vector = NDArray[np.float32]
Usable = Callable[[NDArray[np.floating[Any]]], bool]


@dataclass(frozen=True, eq=False)
class Cluster:
    """One of the shared models, and the updates that began from it."""

    number: int
    base: Vector
    """Of shape (p,)."""
    updates: Updates
    """It may have none."""


def clusters_in(
    ledger: LedgerReader,
    round_id: RoundId,
    parts: Parts,
    bases: Sequence[Vector],
    go_on: Callable[[], None] = lambda: None,
    without: Collection[str] = (),
) -> tuple[Cluster, ...]:
    """Divide the admitted updates of a round by the model that they began from.

    Args:
        ledger: holds the updates.
        round_id: of the round.
        parts: the round's parts; the codec reads the updates.
        bases: the models that the round was announced with, of shape (p,) each.
        go_on: called before each update is read; what it raises ends the work.
        without: devices that are left out, as if they had never answered.

    Raises:
        DamagedState: an admitted update is missing or damaged.
    """
    codec = parts.codec.name, parts.codec.made(CODECS)
    size = len(bases[0])
    of = Updates(ledger, round_id, size, go_on, without).clusters()

    def updates(number: int, base: Vector) -> Updates:
        others = {device for device, chosen in of.items() if chosen != number}
        left_out = others.union(without)
        return Updates(ledger, round_id, size, go_on, left_out, codec, base, seed=parts.seed or 0)

    return tuple(Cluster(number, base, updates(number, base)) for number, base in enumerate(bases))


def medians_of(clusters: Sequence[Cluster]) -> Medians | None:
    """The medians of the round's updates, each measured from its own base; None: there is no update."""
    norms: list[float] = []
    samples: list[int] = []
    for each in clusters:
        for device, size in sizes_of(each.updates, each.base).items():
            norms.append(size.norm)
            samples.append(each.updates.answers[device].samples)
    return Medians.of(norms, samples) if norms else None


def again(clusters: Sequence[Cluster], factors: Factors, parts: Parts) -> tuple[Vector, ...]:
    """The next models of a round of these parts that is computed again.

    Raises:
        DamagedState, PartError: as `aggregate`.
    """
    whole, rule = medians_of(clusters), parts.rule.made(RULES)
    share = share_of(parts, [device for each in clusters for device in each.updates.answers])
    models = []
    for each in clusters:
        if suffices(each, rule):
            found = aggregate(each.updates, each.base, factors, rule, whole=whole)
            models.append(stepped(each, found.vector, parts, share))
        else:
            models.append(each.base)
    return tuple(models)


def suffices(cluster: Cluster, rule: Rule) -> bool:
    """Whether a cluster has as many updates as the rule needs."""
    return len(cluster.updates.answers) >= rule.fewest


def stepped(cluster: Cluster, aggregate: Vector, parts: Parts, share: float) -> Vector:
    """The cluster's next model, which the server optimizer makes of the rule's result.

    Raises:
        PartError: the optimizer fails.
    """
    server = parts.server.made(SERVER)
    state = server.init(len(aggregate))
    round_id = cluster.updates.round
    return server_state.step(round_id, parts.server, server, cluster.base, aggregate, state, share)[0]


def made(
    clusters: Sequence[Cluster],
    factors: Factors,
    trials: Sequence[Usable],
    rule: Rule,
    whole: Medians | None,
) -> tuple[Aggregate | None, ...] | Unusable | Unmade:
    """The rule's result for each cluster; None: it has too few updates, and keeps its model.

    Args:
        clusters: of the round.
        factors: the bounds on one update's influence.
        trials: whether a vector is usable, for each cluster.
        rule: makes the aggregates.
        whole: what `medians_of` returns.

    Raises:
        DamagedState, PartError: as `aggregate`.
    """
    results: list[Aggregate | None] = []
    causes: list[str] = []
    for each, passes in zip(clusters, trials, strict=True):
        if not suffices(each, rule):
            results.append(None)
            continue
        found = usable(each.updates, each.base, factors, passes, rule, whole=whole)
        if isinstance(found, Unmade):
            return found
        if isinstance(found, Unusable):
            causes += found.devices
        else:
            results.append(found)
    if not causes and all(found is None for found in results):
        return Unmade(
            f"none of the {len(clusters)} shared models has the {rule.fewest} updates that the rule "
            f"{rule.version} needs: set fewer [personal] models, a smaller [rule] f or another [rule] name, "
            "or get more devices to take part"
        )
    return Unusable(tuple(sorted(causes, key=order))) if causes else tuple(results)


def left_out(clusters: Sequence[Cluster], results: Sequence[Aggregate | None]) -> tuple[Cluster, ...]:
    """The clusters that have updates and keep their model all the same."""
    return tuple(
        each for each, found in zip(clusters, results, strict=True) if found is None and each.updates.answers
    )
