"""The slow twin of a round's end where there are several shared models: each has its own updates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedge.wire.messages.update import Update
from fleet.simulator import twins
from fleet.simulator.compositions import Composition
from fleet.simulator.round_twins import Closed, combined, stepped
from fleet.simulator.twins import Middle, Numbers, length, middle_of, numbers


@dataclass(frozen=True)
class Cluster:
    """One shared model, and the updates that began from it."""

    name: str
    base: Numbers
    updates: Sequence[Update]


def divided(with_: Composition, updates: Sequence[Update], model: Mapping[str, Numbers]) -> list[Cluster]:
    """The updates by the shared model that they began from."""
    return [
        Cluster(name, model[name], [update for update in updates if (update.cluster or 0) == number])
        for number, name in enumerate(with_.models)
    ]


def middle(clusters: Sequence[Cluster]) -> Middle | None:
    """The medians of a round, each update measured from its own model; None: there is no update."""
    norms = [length(each.base, numbers(update.body)) for each in clusters for update in each.updates]
    samples = [update.samples for each in clusters for update in each.updates]
    return middle_of(norms, samples) if norms else None


def closed(
    with_: Composition, clusters: Sequence[Cluster], fleet: int, *, clips: bool = True
) -> dict[str, Closed]:
    """What each shared model becomes, by its name; one without updates stays."""
    whole, made = middle(clusters), {}
    share = sum(len(each.updates) for each in clusters) / fleet
    for each in clusters:
        if not each.updates:
            made[each.name] = Closed(each.base, each.base, {}, {}, {"weights": []})
            continue
        parts = twins.counted(each.updates, each.base, clips=clips, whole=whole)
        aggregate = combined(with_, parts, each.base)
        weights, _ = stepped(with_, each.base, aggregate, {}, share)
        made[each.name] = Closed(aggregate, weights, {}, {}, {"weights": parts})
    return made
