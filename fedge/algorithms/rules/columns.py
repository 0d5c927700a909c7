"""How the devices' counts, means and deviations of their columns become one mean and spread for each column.

`pooled` is what closed the surveys of before (`survey/1`): the moments of all samples together, where one
device is as strong as what it claims. `robust` (`survey/2`) counts devices, not samples:

* **A column that varies on most devices that measured it:** over those on which it varies, the mean is the
  winsorised mean of their means, and spread² = the median of their variances + B², B being how far the means
  of all lie apart.
* **One that is constant on most devices** (a rare event, one bit of a one-hot code, the level of a station):
  the mean is the median of all, and spread² the trimmed mean of the mean square deviations from it, over
  those devices that do deviate: a median would be 0. Where fewer than `FEWEST` deviate there is nothing to
  trim; see `_rare` for what holds then.

`exact` (`survey/4`) is the same for columns that float32 does for. One that is too fine for it, with a mean
of more than 2¹⁵ spreads, is merged once more, with what is constant judged as float64 has it: to `robust` it
is constant on devices whose spread is below 8 units of float32.

B is 1.4826 times the median distance of the means from their median, which is the standard deviation of
normally distributed ones (Rousseeuw and Croux, "Alternatives to the Median Absolute Deviation", Journal of
the American Statistical Association 88 (1993), 1273-1283); or their winsorised deviation, if that is larger.
Medians and trimmed means as robust rules for averaging: Yin, Chen, Ramchandran and Bartlett, "Byzantine-
Robust Distributed Learning", ICML 2018, https://arxiv.org/abs/1803.01498.

Winsorised: the outer tenth of the values at each end, and one at least, counts as the next value inwards. A
median of the means would resist more liars, and cost an honest fleet more: where a third of twelve stations
stands at another level, four of a hundred samples are taken for another class then
(`tests/aggregator/test_survey_accuracy.py`).

**Bound.** Whatever one device says, from three devices on (that vary in the column), the mean lies between
the means that the others told, and the variance next to the median of theirs; B is at most 1.5 times what
their means span. Of twenty devices that are alike but for their levels, one moves the mean by less than half
a spread, and the spread by a factor between 2/3 and 3/2 (`tests/aggregator/test_columns.py`). With one device
or two nothing of this holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil, fsum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.data.moments import Mask, Moments, is_constant, is_fine, merge

Vector = NDArray[np.float64]

FEWEST = 3
"""From so many values on there is one that is neither the lowest nor the highest."""
TRIMMED = 0.1
"""Of the values at each end: two of twenty, and one at least."""
NORMAL = 1.4826
"""1 / Φ⁻¹(3/4): from a median distance to a standard deviation."""
BINARY_TOLERANCE = 0.25
"""How well m must be the mean square of zeros and ones; what devices tell is rounded."""
BLOCK_COLUMNS = 256
"""Columns that are laid side by side at a time, so that few numbers are held twice."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Per column of d columns, each array of shape (d,) and float64."""

    count: Vector
    """Values measured by all devices together; 0: nobody measured it."""
    mean: Vector
    """In the column's own units."""
    spread: Vector
    """The standard deviation, in the column's own units; 0: it is constant."""
    fine: Mask | None = None
    """Which columns vary and are too fine for float32; None: none, or it was not looked for."""


def pooled(devices: Sequence[Moments]) -> Columns:
    """Columns of all samples together: the rule `survey/1`. The order of the devices is part of the
    result."""
    together = reduce(merge, devices)
    return Columns(together.count, together.mean, np.sqrt(together.m2 / np.maximum(together.count, 1)))


def robust(devices: Sequence[Moments]) -> Columns:
    """Columns in which no single device decides: the rule `survey/2`. A function of the set."""
    counts = np.sum([moments.count for moments in devices], axis=0)
    merged = [_merge(means, variances) for means, variances in _columns(devices)]
    mean, spread = np.array(merged, dtype=np.float64).reshape(-1, 2).T
    return Columns(counts, mean, spread)


def exact(devices: Sequence[Moments]) -> Columns:
    """As `robust`, and in float64 where a column is too fine for float32: the rule `survey/4`."""
    found = robust(devices)
    fine = is_fine(found.mean, found.spread)
    for j in np.flatnonzero(fine):
        count, means, m2 = (
            np.array([getattr(moments, part)[j] for moments in devices]) for part in ("count", "mean", "m2")
        )
        measured = count > 0
        merged = _merge(means[measured], m2[measured] / count[measured], np.float64)
        mean, spread = np.array(merged[:1]), np.array(merged[1:])
        fine[j] = (is_fine(mean, spread) & ~is_constant(mean, spread, np.float64))[0]
        if fine[j]:
            found.mean[j], found.spread[j] = merged
    return Columns(found.count, found.mean, found.spread, fine)


def _columns(devices: Sequence[Moments]) -> Iterator[tuple[Vector, Vector]]:
    """Of each column the means and the variances, both of shape (n,), of the n devices that measured it."""
    width = len(devices[0].mean)
    for start in range(0, width, BLOCK_COLUMNS):
        block = slice(start, start + BLOCK_COLUMNS)
        count, mean, m2 = (
            np.stack([getattr(moments, part)[block] for moments in devices], axis=1)
            for part in ("count", "mean", "m2")
        )
        for j in range(len(count)):
            measured = count[j] > 0
            yield mean[j][measured], m2[j][measured] / count[j][measured]


def _merge(
    means: Vector, variances: Vector, kept_as: type[np.floating[Any]] = np.float32
) -> tuple[float, float]:
    """Mean and spread of one column of values that were kept as such numbers."""
    if not len(means):
        return 0.0, 0.0
    varies = ~is_constant(means, np.sqrt(variances), kept_as)
    if 2 * varies.sum() > len(means):
        variance = float(np.median(variances[varies]))
        return _winsorised_mean(means[varies]), float(np.sqrt(variance + _between(means) ** 2))
    mean = float(np.median(means))
    deviations = np.hypot(np.where(varies, np.sqrt(variances), 0.0), means - mean)
    deviates = varies | ~is_constant(means, np.abs(means - mean), kept_as)
    if deviates.sum() >= FEWEST:
        return mean, float(np.sqrt(_trimmed_mean(np.square(deviations[deviates]))))
    return mean, _rare(mean, means, deviations, deviates)


def _rare(mean: float, means: Vector, deviations: Vector, deviates: NDArray[np.bool_]) -> float:
    """The spread of a column that is the same constant on all devices but one or two.

    Of two devices nobody can tell which one lies, so the spread is such that no honest value is blown up: at
    least 1/√2 of the deviation that either tells. One device can make it so large that the column says
    nothing any more; it says something of one other device only. Not so where the column is a bit of a one-
    hot code, which shows: it is 0 or 1 wherever it is constant, and the mean square of zeros and ones is
    their mean. No value of such a column deviates by more than 1, so what is told beyond counts as that.
    """
    if not deviates.any():
        return 0.0
    told, squares = means[deviates], np.square(deviations[deviates])
    share = told if mean == 0 else 1 - told
    binary = (share > 0) & (share <= 1) & (np.abs(squares - share) <= BINARY_TOLERANCE * share)
    if mean in (0.0, 1.0) and 2 * binary.sum() >= len(binary):
        squares = np.minimum(squares, 1.0)
    return float(np.sqrt(fsum(np.sort(squares)) / len(squares)))


def _between(means: Vector) -> float:
    """How far the devices' means lie apart, as a standard deviation."""
    if len(means) < 2:
        return 0.0
    far = NORMAL * float(np.median(np.abs(means - np.median(means))))
    if len(means) < FEWEST:
        return far
    near = _winsorised(means) - np.median(means)
    # In units of the largest, whose square may be 1e60; the sums are exact, so the order is none of theirs.
    unit = float(np.abs(near).max())
    if unit == 0.0:
        return far
    shares = near / unit
    middle = fsum(shares) / len(shares)
    return max(far, unit * float(np.sqrt(fsum((shares - middle) ** 2) / len(shares))))


def _winsorised_mean(values: Vector) -> float:
    """The mean, if the outer tenth at each end counted as the next value inwards."""
    inner = _winsorised(values)
    mean = fsum(inner) / len(inner)  # of equal values it may be off by a rounding
    return min(max(mean, float(inner[0])), float(inner[-1]))


def _winsorised(values: Vector) -> Vector:
    ordered, cut = np.sort(values), _cut(len(values))
    return np.clip(ordered, ordered[cut], ordered[-1 - cut])


def _trimmed_mean(values: Vector) -> float:
    """The mean without the lowest and the highest tenth, and without one at least at each end."""
    cut = _cut(len(values))
    middle = np.sort(values)[cut : len(values) - cut]
    return fsum(middle) / len(middle)


def _cut(number: int) -> int:
    return min(max(1, ceil(TRIMMED * number)), (number - 1) // 2)


# ── who lies outside ───────────────────────────────────────────────────────────────────────────────

FAR = 10.0
"""Spreads from the mean; the levels of honest stations lie within 3 or 4."""
ALMOST_ALL = 0.9
"""Of the devices: what they have in common is missed in one that has it not."""
ENOUGH = 10
"""Devices, for that."""
SHOWN = 3
"""Columns of one device."""


@dataclass(frozen=True)
class Outlying:
    """What one device tells of one column, and hardly any other does."""

    device: str
    column: str
    what: str
    """`mean`, `spread`: `far` spreads of the fleet; `constant`, `missing`: where almost no other's is."""
    far: float = 0.0

    def __str__(self) -> str:
        where = f"{self.device}: column {self.column!r}"
        match self.what:
            case "mean":
                return f"{where}: its mean lies {self.far:.3g} spreads from the fleet's"
            case "spread":
                return f"{where}: it spreads {self.far:.3g} times as far as the fleet's"
            case "constant":
                return f"{where}: it is constant, and varies on almost all others"
            case _:
                return f"{where}: it is missing, and almost all others measured it"


def outlying(
    devices: Sequence[tuple[str, Moments]],
    names: Sequence[str],
    mean: Vector,
    scale: Vector,
    fine: Sequence[int] = (),
) -> tuple[Outlying, ...]:
    """The devices that lie outside: they are named, and count as far as `robust` lets them.

    Args:
        devices: with their moments.
        names: of the d columns.
        mean: of the fleet, shape (d,).
        scale: what the frozen layer divides by, shape (d,).
        fine: the columns that are kept in float64, by number: they vary where float32 would say they do not.

    Returns:
        The farthest columns of each device, `SHOWN` at most, the farthest devices first.
    """
    worst: dict[str, list[Outlying]] = {}
    for start in range(0, len(names), BLOCK_COLUMNS):
        block = slice(start, start + BLOCK_COLUMNS)
        count, means, m2 = (
            np.stack([getattr(moments, part)[block] for _, moments in devices])
            for part in ("count", "mean", "m2")
        )
        spreads = np.sqrt(m2 / np.maximum(count, 1))
        measured = count > 0
        in_float64 = np.isin(np.arange(start, start + means.shape[1]), fine)
        constant = np.where(in_float64, is_constant(means, spreads, np.float64), is_constant(means, spreads))
        varies = measured & ~constant
        offset = np.where(measured, np.abs(means - mean[block]) / scale[block], 0.0)
        marks = {
            "missing": _lacking(measured, ~measured),
            "constant": np.where(offset > FAR, 0.0, _lacking(varies, measured & ~varies)),
            "mean": offset,
            "spread": np.where(measured, spreads / scale[block], 0.0),
        }
        for what, far in marks.items():
            for k, j in np.argwhere(far > FAR):
                device = devices[k][0]
                shown = far[k, j] if np.isfinite(far[k, j]) else 0.0
                found = Outlying(device, names[start + j], what, float(shown))
                worst[device] = sorted([*worst.get(device, ()), found], key=_farthest)[:SHOWN]
    return tuple(one for some in sorted(worst.values(), key=lambda some: _farthest(some[0])) for one in some)


def _lacking(others: NDArray[np.bool_], lacks: NDArray[np.bool_]) -> Vector:
    """Infinitely far where a device lacks what almost all others have; both of shape (n, d), as the
    result."""
    usual = (others.sum(axis=0) >= ALMOST_ALL * len(others)) & (len(others) >= ENOUGH)
    return np.where(lacks & usual, np.inf, 0.0)


def _farthest(one: Outlying) -> tuple[float, str, str, str]:
    return -one.far, one.device, one.column, one.what
