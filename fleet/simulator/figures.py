"""Compute a round's figures and a survey's columns by slow and obvious arithmetic.

This module shares only the definitions with `aggregator.aggregation.figures` and
`fedge.algorithms.rules.columns`, and none of their code.
"""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, isfinite, sqrt
from statistics import median

from fedge.data.moments import Moments
from fedge.wire.messages.update import Update

FIGURES = (
    ("loss_before", "loss_before", False),
    ("loss", "loss_after", False),
    ("accuracy", "accuracy_before", True),
    ("held_loss", "held_loss_before", True),
    ("accuracy_local", "accuracy_after", True),
    ("rmse", "rmse_before", True),
    ("mae", "mae_before", True),
    *(
        (f"{name}_{whose}", f"{name}_{whose}", True)
        for whose in ("personal", "alone")
        for name in ("held_loss", "accuracy", "rmse", "mae")
    ),
)
"""The name in a round's summary, the name on the wire, and whether held-out samples are its weights."""


def plain_figures(updates: Sequence[Update], count: int = 0) -> dict[str, float]:
    """Compute the figures of a round: exact trimmed means, with weights of at most their lower median.

    The mean of RMSEs is the root of the mean of their squares.

    A figure that fewer than three devices report is left out, unless all updates report it and there are at
    least `count` of them.
    """
    found = {}
    for name, told, held in FIGURES:
        words: list[tuple[Fraction, int]] = []
        for update in updates:
            if told not in update.metrics:
                continue
            weight = update.samples
            if held:
                weight = min(int(update.metrics.get("held_out", 0)), 9 * update.samples)
            if weight > 0:
                square = name.startswith("rmse") and update.metrics[told] < 1e30
                value = update.metrics[told] ** (2.0 if square else 1.0)
                words.append((Fraction(min(value, 1e30)), weight))
        if not words or (len(words) < 3 and len(words) != max(len(updates), count)):
            continue
        middle = sorted(weight for _, weight in words)[(len(words) - 1) // 2]
        words = sorted((value, min(weight, middle)) for value, weight in words)
        if len(words) > 2:
            words = words[1:-1]
        middling = float(sum(v * w for v, w in words) / sum(w for _, w in words))
        found[name] = sqrt(middling) if name.startswith("rmse") else middling
    return found


COUNTS = ("use_shared", "use_personal", "compared", "worse_off", "shared_worse_off")
"""Counts of devices in a round's summary."""


def plain_counts(updates: Sequence[Update]) -> dict[str, int]:
    """Count the devices by the model that they use, and those that are worse off than alone, row by row."""
    found = dict.fromkeys(COUNTS, 0)
    for update in updates:
        told = update.metrics
        if "chose" in told:
            found[COUNTS[int(told["chose"])]] += 1
        compares = False
        for whose, count in (("personal", "worse_off"), ("before", "shared_worse_off")):
            names = [n for n in ("accuracy", "rmse") if {f"{n}_{whose}", f"{n}_alone"} <= told.keys()]
            if not names or not told.get("held_out", 0) or not (compares or whose == "personal"):
                continue
            compares = True
            rows = Fraction(told["held_out"])
            own, alone = (Fraction(min(told[f"{names[0]}_{each}"], 1e30)) for each in (whose, "alone"))
            if names[0] == "accuracy":
                found[count] += rows * (alone - own) > 1 + Fraction(1, 10**6)
            else:
                found[count] += rows * own**2 > (rows + 1) * alone**2 * (1 + Fraction(1, 10**6))
        found["compared"] += compares
    return found


def plain_column(devices: Sequence[Moments], j: int) -> tuple[float, float]:
    """Compute mean and spread of column `j`; a constant column has the spread 0."""
    told = [(float(one.mean[j]), sqrt(one.m2[j] / one.count[j])) for one in devices if one.count[j] > 0]
    means = [mean for mean, _ in told]
    alive = [(mean, deviation) for mean, deviation in told if not _constant(mean, deviation)]
    if 2 * len(alive) > len(told):
        level = _mean(_inwards([mean for mean, _ in alive]))
        return level, sqrt(median([deviation**2 for _, deviation in alive]) + _apart(means) ** 2)
    level = median(means)
    squares = [
        ((0 if _constant(mean, deviation) else deviation**2) + (mean - level) ** 2, mean)
        for mean, deviation in told
        if not _constant(mean, deviation) or not _constant(mean, abs(mean - level))
    ]
    if len(squares) > 2:
        cut = min(max(1, ceil(len(squares) / 10)), (len(squares) - 1) // 2)
        return level, sqrt(_mean(sorted(square for square, _ in squares)[cut : len(squares) - cut]))
    if level in (0, 1):
        shares = [(square, mean if level == 0 else 1 - mean) for square, mean in squares]
        bits = [1 for square, share in shares if 0 < share <= 1 and abs(square - share) <= share / 4]
        if 2 * len(bits) >= len(squares):
            squares = [(min(square, 1.0), mean) for square, mean in squares]
    return level, sqrt(_mean([square for square, _ in squares])) if squares else 0.0


def _constant(mean: float, deviation: float) -> bool:
    return deviation <= max(2.0**-20 * abs(mean), 2.0**-126)


def _apart(means: list[float]) -> float:
    middle = median(means)
    far = 1.4826 * median([abs(mean - middle) for mean in means])
    if len(means) < 3:
        return far
    near = _inwards(means)
    level = _mean(near)
    return max(far, sqrt(_mean([(mean - level) ** 2 for mean in near])))


def _inwards(values: list[float]) -> list[float]:
    """Replace the outer tenth at each end, at least one value, by the next value inwards."""
    ordered = sorted(values)
    cut = min(max(1, ceil(len(values) / 10)), (len(values) - 1) // 2)
    return [ordered[min(max(i, cut), len(values) - 1 - cut)] for i in range(len(values))]


def _mean(values: Sequence[float]) -> float:
    assert all(isfinite(value) for value in values)
    return float(sum(map(Fraction, values)) / len(values))
