"""The slow twins of a training round's end: rule, handed-on vectors and server optimizer, from the formulas.

They compute with Python's floats, one entry after another, and round to float32 where a model is made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import copysign, sqrt

from fedge.wire.messages.update import Update
from fleet.simulator import robust_twins, twins
from fleet.simulator.compositions import Composition
from fleet.simulator.twins import NONE_LATE, Counted, Late, Numbers, single

ServerState = Mapping[str, Numbers]
"""The arrays of server optimizer and rule by name; empty before the first round."""


@dataclass(frozen=True)
class Closed:
    """What a round makes."""

    aggregate: Numbers
    """The rule's vector of the weights."""
    weights: Numbers
    vectors: Mapping[str, Numbers]
    """The further vectors of the next model."""
    state: ServerState
    parts: Mapping[str, list[Counted]]
    """How much each update counted, by the name of the vector."""
    means: Mapping[str, Numbers] = field(default_factory=dict)
    """The mean of each further vector by name, of vectors that are not clipped: what says how long it is."""


def closed(
    with_: Composition,
    updates: Sequence[Update],
    model: Mapping[str, Numbers],
    state: ServerState,
    fleet: int,
    late: Mapping[str, Late] = NONE_LATE,
    *,
    clips: bool = True,
) -> Closed:
    """The next model.

    Args:
        with_: the composition.
        updates: those that count.
        model: the vectors that the round was announced with, by name.
        state: that of server optimizer and rule.
        fleet: N, the number of devices of the fleet.
        late: the updates from older models, by device.
        clips: whether updates that are far from their base are clipped.
    """
    base, share = model["weights"], len(updates) / fleet
    parts = {"weights": twins.counted(updates, base, late, clips=clips)}
    aggregate, after_rule = ruled(with_, parts["weights"], base, state)
    vectors, means = {}, {}
    for name in with_.vectors:
        parts[name] = twins.counted(updates, [0.0] * len(base), clips=clips, name=name)
        mean = combined(with_, parts[name], [0.0] * len(base))
        means[name] = twins.mean(twins.counted(updates, [0.0] * len(base), clips=False, name=name))
        vectors[name] = [single(c + share * d) for c, d in zip(model[name], mean, strict=True)]
    weights, after = stepped(with_, base, aggregate, state, share)
    return Closed(aggregate, weights, vectors, {**after, **after_rule}, parts, means)


def ruled(
    with_: Composition, parts: Sequence[Counted], base: Numbers, state: ServerState
) -> tuple[Numbers, ServerState]:
    """What the rule makes of the bounded weights, and its next state."""
    if with_.robust:
        return robust_twins.combined(with_.robust, parts, base, state)
    return combined(with_, parts, base), {}


def combined(with_: Composition, parts: Sequence[Counted], base: Numbers) -> Numbers:
    """What a mean makes of bounded updates."""
    if with_.rule == "nova":
        mean = twins.mean(parts, exact=True)
        weight = sum(part.weight for part in parts)
        tau = float(Fraction(sum(part.weight * part.steps for part in parts), weight))
        return [single(w + tau * (m - w)) for m, w in zip(mean, base, strict=True)]
    return twins.mean(parts, uniform=with_.uniform)


def stepped(
    with_: Composition, base: Numbers, aggregate: Numbers, state: ServerState, share: float
) -> tuple[Numbers, ServerState]:
    """What the server optimizer makes of the rule's vector, and its next state."""
    options = with_.server_options
    nothing = [0.0] * len(base)
    pairs = list(zip(base, aggregate, strict=True))
    match with_.server:
        case "average":
            rate = options["rate"]
            return (aggregate if rate == 1.0 else [single(w + rate * (a - w)) for w, a in pairs]), {}
        case "momentum":
            beta, rate = options["momentum"], options["rate"]
            before = state.get("v", nothing)
            v = [beta * v + (w - a) for v, (w, a) in zip(before, pairs, strict=True)]
            return [single(w - rate * x) for w, x in zip(base, v, strict=True)], {"v": v}
        case "dyn":
            before = state.get("u", nothing)
            u = [u - share * (a - w) for u, (w, a) in zip(before, pairs, strict=True)]
            return [single(a - x) for a, x in zip(aggregate, u, strict=True)], {"u": u}
        case _:
            return _adapted(with_, pairs, state)


def _adapted(
    with_: Composition, pairs: Sequence[tuple[float, float]], state: ServerState
) -> tuple[Numbers, ServerState]:
    """A step of adam, yogi or adagrad."""
    options = with_.server_options
    rate, beta, tau = options["rate"], options["beta1"], options["tau"]
    decay = options.get("beta2", 0.0)
    m, v, weights = [], [], []
    for i, (w, a) in enumerate(pairs):
        change = a - w
        square, before = change * change, state["v"][i] if state else tau**2
        m.append(beta * (state["m"][i] if state else 0.0) + (1 - beta) * change)
        match with_.server:
            case "adagrad":
                v.append(before + square)
            case "adam":
                v.append(decay * before + (1 - decay) * square)
            case _:
                sign = copysign(1.0, before - square) if before != square else 0.0
                v.append(before - (1 - decay) * square * sign)
        weights.append(single(w + rate * m[i] / (sqrt(v[i]) + tau)))
    return weights, {"m": m, "v": v}
