"""The aggregate of a round's admitted updates by any rule; each update is bounded first.

First the distances of the updates from the base are measured. They determine the bounds within which the rule
sees the updates (`fedge.algorithms.rules.bounds`). If the result is not usable, the updates that cause this
are found.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation.server_state import sound
from aggregator.aggregation.staleness import discounted
from aggregator.aggregation.updates import TOGETHER, RoundUpdates, Updates
from aggregator.core.parts import PartError, blaming, require_vector, unchanged
from aggregator.ledger.reading import LedgerReader
from fedge.algorithms.contribution import LANES, Contribution, order
from fedge.algorithms.protocols import WEIGHTS, Combined, Rule, State
from fedge.algorithms.rules.bounds import (
    Bounds,
    Factors,
    Medians,
    bounded_steps,
    bounds,
    clipped,
    distance,
    distances,
)
from fedge.algorithms.rules.mean import Mean, finish, partial
from fedge.wire.freshness import RoundId
from fedge.wire.topics import lane_of

Vector = NDArray[np.float32]
Usable = Callable[[NDArray[np.floating[Any]]], bool]
MEAN = Mean()


class Size(NamedTuple):
    """What the bounds on one update depend on, besides its n_k."""

    norm: float
    """‖w_k - base‖."""
    steps: int
    """As the device says."""


@dataclass(frozen=True)
class Aggregate:
    """A rule's result for a round's updates, and how much each update counted."""

    vector: Vector
    """Of shape (p,)."""
    devices: tuple[str, ...]
    """The devices, in the order of the sum."""
    norms: tuple[float, ...]
    """‖w_k - base‖ of each."""
    samples: tuple[int, ...]
    """n_k of each, as the device says."""
    steps: tuple[int, ...]
    """The steps of each, as the device says."""
    bounds: Bounds
    counted: tuple[float, ...]
    """The part of each update that counted, in [0, 1], after bounds and rule."""
    distances: tuple[float, ...]
    """Of each bounded update from the result, if the rule `measures`; else its norm."""
    state: State = field(default_factory=dict)
    """The rule's next state."""


@dataclass(frozen=True)
class Unusable:
    """The rule's result for the admitted updates is not usable; without those of `devices` it is."""

    devices: tuple[str, ...]
    """In the order of the sum; never empty."""

    def __str__(self) -> str:
        return "the mean of the updates is not finite, or its outputs on the probe inputs are not"


@dataclass(frozen=True)
class Unmade:
    """The updates make no model, and none of them is the cause; the detail says why, and what to do."""

    detail: str
    inputs: str | None = None
    """With noise: the digest of what it was computed from (`aggregator.aggregation.noise`): it is paid for,
    although nothing comes of it."""

    def __str__(self) -> str:
        return self.detail


class Bounded:
    """The view of some of a round's updates that a rule gets (`fedge.algorithms.protocols.Updates`).

    Args:
        updates: where they come from.
        base: what they began from, of shape (p,); zeros for a vector that has no base.
        counts: of each device that takes part, what its difference is multiplied with, and what its n_k
            and its steps count as.
        name: of the vector.
    """

    def __init__(
        self,
        updates: RoundUpdates,
        base: Vector,
        counts: Mapping[str, tuple[float, int, int]],
        name: str = WEIGHTS,
    ) -> None:
        self._updates, self._base, self._counts, self._name = updates, base, counts, name
        self.size = len(base)
        self.error: BaseException | None = None
        """The error while an update was read, also if the rule caught it; it is not the rule's fault."""

    def __len__(self) -> int:
        return len(self._counts)

    def lanes(self, lanes: range = LANES) -> Iterator[Contribution]:
        """The updates of the devices of these lanes, read one at a time, by lane and device."""
        answers = self._updates.answers
        others = answers.keys() - self._counts.keys()
        if lanes != LANES:
            others |= {device for device in answers if lane_of(device) not in lanes}
        vectors = self._updates.vectors(others, self._name)
        while (found := self._next(vectors)) is not None:
            device, vector = found
            scale, weight, steps = self._counts[device]
            yield Contribution(device, weight, clipped(self._base, vector, scale), steps)

    def _next(self, vectors: Iterator[tuple[str, NDArray[Any]]]) -> tuple[str, NDArray[Any]] | None:
        try:
            return next(vectors, None)
        except BaseException as error:
            self.error = error
            raise


def mean_of(
    ledger: LedgerReader,
    round_id: RoundId,
    size: int,
    go_on: Callable[[], None] = lambda: None,
    without: Collection[str] = (),
) -> tuple[Vector, int]:
    """The mean of the admitted updates of shape (size,) without bounds (rule mean/1), and Σ n_k.

    Raises:
        DamagedState: an admitted update is missing or damaged.
    """
    updates = Updates(ledger, round_id, size, go_on, without)
    return finish(
        partial(Contribution(d, updates.answers[d].samples, vector) for d, vector in updates.vectors())
    )


def sizes_of(updates: RoundUpdates, base: Vector, name: str = WEIGHTS) -> dict[str, Size]:
    """The size of one vector of each update, by device, in the order of the sum.

    Updates are only read if admission has not measured them.

    Raises:
        DamagedState, PartError: as `Updates.sent`.
    """
    sizes = {
        device: Size(length, found.steps)
        for device, found in updates.measured.items()
        if (length := found.length(name)) is not None
    }
    sizes |= {
        sent.device: Size(
            distance(base, sent.vector) if sent.length is None else sent.length,
            sent.steps,
        )
        for sent in updates.sent(frozenset(sizes), name)
    }
    return {device: sizes[device] for device in updates.answers}


def aggregate(
    updates: RoundUpdates,
    base: Vector,
    factors: Factors,
    rule: Rule = MEAN,
    name: str = WEIGHTS,
    whole: Medians | None = None,
    state: State | None = None,
) -> Aggregate:
    """Apply the rule to one vector of the updates, within their bounds; all norms are measured first.

    `whole`: as in `fedge.algorithms.rules.bounds.bounds`. `state`: the rule's; None: it begins at `init`.

    Raises:
        DamagedState: an admitted update is missing or damaged.
        PartError: the rule raises, or its result is not a float32 vector of the base's length; or a codec
            fails.
    """
    return _of(updates, base, factors, rule, sizes_of(updates, base, name), name, whole, state)


def usable(
    updates: RoundUpdates,
    base: Vector,
    factors: Factors,
    passes: Usable,
    rule: Rule = MEAN,
    name: str = WEIGHTS,
    whole: Medians | None = None,
    state: State | None = None,
) -> Aggregate | Unusable | Unmade:
    """As `aggregate`; if the result is not usable, find the devices that cause it: a function of the set.

    The causes are first the devices whose bounded update is unusable by itself. While the rule's result for
    the others is not usable either, the one with the longest difference is added (of equal ones the last in
    the order of the sum). If the rule makes an unusable vector of one usable update, the rule is at fault.

    Args:
        updates: the admitted updates of the round.
        base: what they began from, of shape (p,).
        factors: the bounds on one update's influence.
        passes: whether a vector is usable.
        rule: makes the aggregate.
        name: of the vector.
        whole: as in `fedge.algorithms.rules.bounds.bounds`.
        state: the rule's; None: it begins at `init`.

    Raises:
        DamagedState, PartError: as `aggregate`.
    """
    found = aggregate(updates, base, factors, rule, name, whole, state)
    if passes(found.vector):
        return found
    sizes = dict(zip(found.devices, map(Size, found.norms, found.steps), strict=True))
    scales = dict(zip(found.devices, found.bounds.scales, strict=True))
    causes = {d for d, w in updates.vectors(name=name) if not passes(clipped(base, w, scales[d]))}
    others = sorted(sizes.keys() - causes, key=lambda device: (sizes[device].norm, order(device)))
    if others and _spoils(
        updates, base, factors, passes, rule, name, {others[0]: sizes[others[0]]}, whole, state
    ):
        return Unmade(
            f"the rule {rule.version} makes an unusable vector from {others[0]}'s update, which is usable: "
            "correct the rule, or set another [rule], and start the aggregator again"
        )
    if not causes:
        causes.add(others.pop())
    while others:
        known = {device: sizes[device] for device in found.devices if device not in causes}
        if passes(_of(updates, base, factors, rule, known, name, whole, state).vector):
            break
        causes.add(others.pop())
    return Unusable(tuple(device for device in found.devices if device in causes))


def _spoils(
    updates: RoundUpdates,
    base: Vector,
    factors: Factors,
    passes: Usable,
    rule: Rule,
    name: str,
    one: Mapping[str, Size],
    whole: Medians | None,
    state: State | None,
) -> bool:
    """Whether the rule makes an unusable vector from one usable update, whatever steps its device tells;
    False if it needs more than one."""
    plain = {device: size._replace(steps=1) for device, size in one.items()}
    try:
        return not passes(_of(updates, base, factors, rule, plain, name, whole, state).vector)
    except PartError:
        return False


def _of(
    updates: RoundUpdates,
    base: Vector,
    factors: Factors,
    rule: Rule,
    sizes: Mapping[str, Size],
    name: str,
    whole: Medians | None,
    state: State | None,
) -> Aggregate:
    """Apply the rule to the updates of these sizes, in the order of the sum."""
    samples = tuple(updates.answers[device].samples for device in sizes)
    norms, steps = tuple(size.norm for size in sizes.values()), tuple(size.steps for size in sizes.values())
    found = bounds(norms, samples, factors, whole, further=name != WEIGHTS)
    behind = [updates.round.round - (updates.answers[d].began or updates.round.round) for d in sizes]
    weights = discounted(found.weights, behind)
    counted = zip(found.scales, weights, bounded_steps(steps, factors), strict=True)
    counts = dict(zip(sizes, counted, strict=True))
    bounded, who = Bounded(updates, base, counts, name), f"the rule {rule.version}"
    try:
        with blaming(who, str(updates.round), "or set another [rule] in federation.toml"):
            begun = rule.init(len(base)) if state is None else state
            combined = rule.aggregate(bounded, unchanged(base), begun)
            parts = _sound(who, combined, sizes, len(base))
        norms = tuple(_distances(bounded, combined.vector)) if rule.measures else norms
    finally:
        if bounded.error is not None:
            raise bounded.error
    counted_parts = tuple(part * scale for part, scale in zip(parts, found.scales, strict=True))
    return Aggregate(
        combined.vector,
        tuple(sizes),
        tuple(size.norm for size in sizes.values()),
        samples,
        steps,
        found,
        counted_parts,
        norms,
        combined.state,
    )


def _sound(who: str, combined: Combined, devices: Mapping[str, Size], size: int) -> tuple[float, ...]:
    """Check the result of a rule, which may be third-party code; the part of each update that it counted.

    Raises:
        TypeError, ValueError: it is not what the protocol asks for.
    """
    if not isinstance(combined, Combined):
        raise TypeError(f"{who} returned {type(combined).__name__}, expected `Combined`")
    require_vector(who, combined.vector, size)
    sound(who, combined.state)
    if others := combined.counted.keys() - devices.keys():
        raise ValueError(f"{who} counts {min(others)}, which has no update in this round")
    parts = tuple(float(combined.counted.get(device, 1.0)) for device in devices)
    if bad := [part for part in parts if not 0 <= part <= 1]:
        raise ValueError(f"{who} says that {bad[0]} of an update counted, expected 0 to 1")
    return parts


def _distances(bounded: Bounded, vector: Vector) -> Iterator[float]:
    """‖w_k - vector‖ of each update; of short vectors several are measured at once."""
    together = max(1, TOGETHER // max(1, len(vector)))
    updates = bounded.lanes()
    while few := [each.vector for each in islice(updates, together)]:
        yield from distances(vector, np.stack(few)) if together > 1 else [distance(vector, few[0])]
