"""The slow twins of the local algorithms: what a device makes of its loss, from the formulas.

A device of a world that learns with a composition has the loss f(w) = ½ ‖w - b‖², whose gradient is w - b.
The twins compute with Python's floats, one entry after another. Where the algorithm keeps float32, each
result is rounded to it; for +, - and × that gives the same bits as arithmetic in float32.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import fsum, inf, isfinite, sqrt

from fleet.simulator.compositions import PULL, Composition
from fleet.simulator.twins import Numbers, single

STATES = {"scaffold": "control", "dyn": "gradient"}
"""The array of each algorithm's state on a device."""


@dataclass(frozen=True)
class Work:
    """What a device trains with."""

    optimum: Numbers
    """b, where its loss is the least."""
    steps: int
    """The number of its steps."""
    asked: int = 0
    """The number of steps that the plan asks for."""


@dataclass(frozen=True)
class Sent:
    """What a device makes of a round."""

    vectors: Mapping[str, Numbers]
    """What it sends, by name."""
    state: Numbers = field(default_factory=list)
    """Its next state; empty without one."""
    cluster: int = 0
    """The shared model that it trains."""


def trained(with_: Composition, rate: float, model: Mapping[str, Numbers], own: Numbers, work: Work) -> Sent:
    """What a device sends, and its next state.

    Args:
        with_: the composition.
        rate: α, of this round.
        model: the announced vectors by name.
        own: the device's state; empty without one.
        work: its loss and its steps.
    """
    cluster = fitting(with_, model, work)
    start, options = model[with_.models[cluster]], with_.local_options
    w = list(start)
    shift: Numbers | None = None
    if with_.local == "scaffold":
        shift = [single(single(c - c_i) * single(rate)) for c, c_i in zip(model["control"], own, strict=True)]
    if with_.local == "dyn":
        shift = [single(-g * single(rate)) for g in own]
    pull = options.get("mu", 0.0) if with_.local == "prox" else options.get("alpha", 0.0)
    for _ in range(work.steps):
        w = _step(with_, rate, w, work.optimum, pull, start, shift)
    match with_.local:
        case "nova":
            sent = [single(s + (x - s) / work.steps) for x, s in zip(w, start, strict=True)]
            return Sent({"weights": sent})
        case "scaffold":
            fleet = model["control"]
            told = [
                single((s - x) / (work.steps * rate) - c) for x, s, c in zip(w, start, fleet, strict=True)
            ]
            return Sent({"weights": w, "control": told}, following(with_, own, {"control": told}, start))
        case "dyn":
            return Sent({"weights": w}, following(with_, own, {"weights": w}, start))
        case _:
            return Sent({"weights": w}, cluster=cluster)


def personal(
    with_: Composition, rate: float, model: Sequence[float], v: Sequence[float], work: Work
) -> Numbers:
    """Ditto's personal model after one more round.

    Args:
        with_: the composition.
        rate: α, of this round.
        model: the announced weights, to which a step is drawn.
        v: the personal model before; in the first round the announced weights.
        work: the device's loss; the plan's steps are all taken.
    """
    after = list(v)
    for _ in range(work.asked):
        after = _step(with_, rate, after, work.optimum, PULL, model, None)
    return after


def fitting(with_: Composition, model: Mapping[str, Numbers], work: Work) -> int:
    """The shared model with the least loss on the device; of equal ones the first."""
    losses = []
    for name in with_.models:
        loss = 0.5 * fsum((x - b) * (x - b) for x, b in zip(model[name], work.optimum, strict=True))
        losses.append(loss if isfinite(loss) else inf)
    return losses.index(min(losses))


def following(
    with_: Composition, own: Numbers, sent: Mapping[str, Numbers], start: Sequence[float]
) -> Numbers:
    """The state of a device after one more update that counts; at first it is zeros.

    Args:
        with_: the composition.
        own: the state before.
        sent: the vectors of the update by name.
        start: the weights that it began from.
    """
    if with_.local == "scaffold":  # c_i ← c_i + Δ
        return [single(c + d) for c, d in zip(own, sent["control"], strict=True)]
    a = with_.local_options["alpha"]  # g_k ← g_k - a (θ_k - w)
    return [single(g - a * (x - s)) for g, x, s in zip(own, sent["weights"], start, strict=True)]


def _step(
    with_: Composition,
    rate: float,
    w: Sequence[float],
    optimum: Sequence[float],
    pull: float,
    anchor: Sequence[float],
    shift: Sequence[float] | None,
) -> Numbers:
    """One step of gradient descent on the device's loss, drawn to the anchor and shifted."""
    change = [single(single(x - b) * single(rate)) for x, b in zip(w, optimum, strict=True)]
    change = _no_longer(change, rate, with_.max_gradient)
    if pull:
        back = [single(single(x - s) * single(rate * pull)) for x, s in zip(w, anchor, strict=True)]
        change = [single(a + b) for a, b in zip(change, back, strict=True)]
    if shift is not None:
        change = [single(a + b) for a, b in zip(change, shift, strict=True)]
    return [single(x - a) for x, a in zip(w, change, strict=True)]


def _no_longer(change: Numbers, rate: float, most: float | None) -> Numbers:
    """A step whose gradient is not longer than the plan's `max_gradient`."""
    if most is None:
        return change
    length = sqrt(fsum(x * x for x in change)) / rate
    return [single(x * single(most / length)) for x in change] if length > most else change
