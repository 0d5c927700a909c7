"""Check the bounds on one liar's influence that `fedge.algorithms.rules.bounds` states, on whole rounds.

The bounds compare what the rule made of all updates with what it makes of those of the others, with the
lengths and weights that they have in this round.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import sqrt
from statistics import median_low

from fedge.wire.freshness import RoundId
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.record import Record
from fleet.simulator.round_twins import Closed
from fleet.simulator.twins import (
    CLIP_NORM,
    FEWEST,
    MAX_WEIGHT,
    Counted,
    Middle,
    Numbers,
    clip_of,
    length,
    mean,
)

SLACK = 1e-5
"""The relative error of float32 and of the twins' sums."""


def require_influence(
    record: Record, round_id: RoundId, base: Numbers, made: Closed, weights: Numbers, behind: int = 0
) -> None:
    """Check the bounds on a liar that counts with four others or more; with two or more for further vectors.

    Args:
        record: knows the liars and the composition.
        round_id: of the closed round.
        base: the weights that it was announced with.
        made: what the twins make of its updates.
        weights: those that it made.
        behind: the most versions that one of its updates is late by. Late updates weigh less, so the liar's
            weighs up to √(1 + `behind`) times as much beside them.
    """
    with_ = record.composition
    if with_.robust:
        _between(record, round_id, made)
        return
    for name, parts in made.parts.items():
        others = [part for part in parts if part.device not in record.liars]
        clip = clip_of(name, len(parts))
        if len(parts) - len(others) != 1 or len(parts) == 2 or clip is None or not record.clips:
            continue
        start = base if name == "weights" else [0.0] * len(base)
        weight = [1 if with_.uniform else part.weight for part in parts]
        liar = next(i for i, part in enumerate(parts) if part.device in record.liars)
        share = weight[liar] / sum(weight)
        usual = median_low([part.norm for part in parts])
        rest = mean(others, uniform=with_.uniform, exact=True)
        most = sqrt(1 + behind) * clip * usual / (1 + len(parts) // 2) + share * length(start, rest)
        size = max(map(abs, [*start, *rest]))
        told = mean(parts, uniform=with_.uniform, exact=True)
        if name == "weights":
            plain = with_.server == "average" and with_.server_options["rate"] == 1.0
            told = weights if plain else made.aggregate  # the model itself where it is the aggregate
            factor = _steps(round_id, parts, liar, told, base) if with_.rule == "nova" else 1.0
            rest = [w + factor * (r - w) for w, r in zip(base, rest, strict=True)]
            most *= factor
        found = length(rest, told)
        if found > most * (1 + SLACK) + SLACK * size:
            raise Violation(
                Invariant.INFLUENCE,
                f"in round {round_id} the liar moves {name} by {found:.6g}, at most {most:.6g} is stated",
            )


def _between(record: Record, round_id: RoundId, made: Closed) -> None:
    """Check that a rule of coordinates stays between the honest values, if there are enough updates."""
    robust, parts = record.composition.robust, made.parts["weights"]
    honest = [part.vector for part in parts if part.device not in record.liars]
    enough = len(parts) >= record.composition.fewest and len(parts) - len(honest) <= robust["f"]
    if robust["name"] not in ("median", "trimmed-mean") or robust["pre"] != "none" or not enough:
        return
    for w, column in zip(made.aggregate, zip(*honest, strict=True), strict=True):
        slack = SLACK * max(map(abs, column))
        if not min(column) - slack <= w <= max(column) + slack:
            raise Violation(
                Invariant.INFLUENCE,
                f"in round {round_id} an entry is {w}, the honest ones are {min(column)} to {max(column)}",
            )


def require_few(record: Record, round_id: RoundId, base: Numbers, whole: Middle, weights: Numbers) -> None:
    """Check the bound on a shared model that fewer than five devices have trained, whatever they sent.

    Args:
        record: knows the composition.
        round_id: of the closed round.
        base: the model before, of shape (p,).
        whole: the medians of the whole round.
        weights: the model after.
    """
    if not record.clips or whole.updates < FEWEST:
        return
    rate = record.composition.server_options["rate"]
    found, most = length(base, weights), rate * CLIP_NORM * whole.norm
    if found > most * (1 + SLACK) + SLACK * max(map(abs, base)):
        raise Violation(
            Invariant.INFLUENCE,
            f"in round {round_id} few devices move their model by {found:.6g}, at most {most:.6g} is stated",
        )


def _steps(round_id: RoundId, parts: Sequence[Counted], liar: int, told: Numbers, base: Numbers) -> float:
    """Check by how much a liar changes the mean number of steps; returns that of the round.

    It follows from the aggregate, which is base + τ (mean - base), in the entry that moves most.
    """
    whole = mean(parts, exact=True)
    i = max(range(len(base)), key=lambda i: abs(whole[i] - base[i]))
    moved = whole[i] - base[i]
    total = sum(part.weight for part in parts)
    others = [part for n, part in enumerate(parts) if n != liar]
    rest = float(Fraction(sum(p.weight * p.steps for p in others), sum(p.weight for p in others)))
    tau = (told[i] - base[i]) / moved if moved else rest
    share = parts[liar].weight / total
    middle = median_low([part.told_steps for part in parts])
    low, high = rest - share * rest, rest + share * MAX_WEIGHT * middle
    slack = SLACK * (1 + high) * (1 + abs(base[i]) / max(abs(moved), 1e-30))
    if not low - slack <= tau <= high + slack:
        raise Violation(
            Invariant.INFLUENCE,
            f"in round {round_id} the liar makes {tau:.6g} of {rest:.6g} mean steps; "
            f"{low:.6g} to {high:.6g} is stated",
        )
    return tau
