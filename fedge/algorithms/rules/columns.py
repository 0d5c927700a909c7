"""Merge the devices' counts, means and deviations into one mean and one spread for each column.

`pooled` closed earlier surveys (`survey/1`): it pools the moments of all samples, so a device weighs as much
as the count that it claims. `robust` (`survey/2`) counts devices, not samples:

* **A column that varies on most devices that measured it:** over those on which it varies, the mean is the
  winsorised mean of their means, and spread² = the median of their variances + B², where B measures how far
  apart all means lie.
* **One that is constant on most devices** (a rare event, one bit of a one-hot code, the level of a station):
  the mean is the median of all means, and spread² the trimmed mean of the mean square deviations from it,
  over the devices that do deviate (over all, a median would be 0). If fewer than `FEWEST` deviate, there is
  nothing to trim, and `_rare` applies.

`exact` (`survey/4`) gives the same for columns that float32 can hold. A column too fine for that, with a mean
of more than 2¹⁵ spreads, is merged again by the limits of float64: `robust` takes it as constant on devices
whose spread is below 8 units of float32.

B is 1.4826 times the median distance of the means from their median, which is the standard deviation of
normally distributed ones (Rousseeuw and Croux, "Alternatives to the Median Absolute Deviation", Journal of
the American Statistical Association 88 (1993), 1273-1283); or their winsorised deviation, if that is larger.
Medians and trimmed means as robust rules for averaging: Yin, Chen, Ramchandran and Bartlett, "Byzantine-
Robust Distributed Learning", ICML 2018, https://arxiv.org/abs/1803.01498.

Winsorised: the outer tenth of the values at each end, and one at least, counts as the next value inwards. A
median of the means would resist more liars, but cost an honest fleet more: if a third of twelve stations
stands at another level, it misclassifies four of a hundred samples
(`tests/aggregator/test_survey_accuracy.py`).

**Bound.** Whatever one device sends, if three or more devices vary in the column, the mean lies between the
means of the others, and the variance next to the median of theirs; B is at most 1.5 times the range of their
means. Among twenty devices that differ only in their levels, one moves the mean by less than half a spread,
and the spread by a factor between 2/3 and 3/2 (`tests/aggregator/test_columns.py`). With one or two devices
none of this holds.
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
"""The fewest values of which one is neither the lowest nor the highest."""
TRIMMED = 0.1
"""The share of values trimmed at each end: two of twenty, and at least one."""
NORMAL = 1.4826
"""1 / Φ⁻¹(3/4): the factor from a median distance to a standard deviation."""
BINARY_TOLERANCE = 0.25
"""How far m may be from the mean square of zeros and ones, relatively: devices round what they send."""
BLOCK = 2**15
"""The most numbers of one kind that are stacked at a time, so that memory does not grow with the fleet."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Moments of d columns; each array has shape (d,) and float64."""

    count: Vector
    """Values measured by all devices together; 0: nobody measured it."""
    mean: Vector
    """The mean, in the column's own units."""
    spread: Vector
    """The standard deviation, in the column's own units; 0: it is constant."""
    fine: Mask | None = None
    """Which columns vary and are too fine for float32; None: not determined."""


def pooled(devices: Sequence[Moments]) -> Columns:
    """Columns of all samples together: the rule `survey/1`. The result depends on the order of the
    devices."""
    together = reduce(merge, devices)
    return Columns(together.count, together.mean, np.sqrt(together.m2 / np.maximum(together.count, 1)))


def robust(devices: Sequence[Moments]) -> Columns:
    """Columns that no single device decides: the rule `survey/2`. A function of the set of devices."""
    counts = reduce(np.add, (moments.count for moments in devices))
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


def blocks(devices: int, columns: int) -> Iterator[slice]:
    """Divide columns into blocks, of each of which `BLOCK` numbers of all devices are held, or one column."""
    width = max(1, BLOCK // devices)
    return (slice(start, min(start + width, columns)) for start in range(0, columns, width))


def _columns(devices: Sequence[Moments]) -> Iterator[tuple[Vector, Vector]]:
    """Yield for each column the means and variances, of shape (n,), of the n devices that measured it."""
    for block in blocks(len(devices), len(devices[0].mean)):
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
    """Mean and spread of one column whose values were kept as numbers of this type."""
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

    Of two devices nobody can tell which one lies. So the spread is at least 1/√2 of the deviation that either
    one reports, and no honest value is inflated. One device can make the spread so large that the column
    becomes useless; it was useful for one other device only. A bit of a one-hot code is protected from that.
    It is recognised because it is 0 or 1 wherever it is constant, and the mean square of zeros and ones is
    their mean. No value of such a column deviates by more than 1, so larger deviations count as 1.
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
    """How far apart the devices' means lie, as a standard deviation."""
    if len(means) < 2:
        return 0.0
    far = NORMAL * float(np.median(np.abs(means - np.median(means))))
    if len(means) < FEWEST:
        return far
    near = _winsorised(means) - np.median(means)
    # In units of the largest, whose square may be 1e60. The sums are exact, so the order does not matter.
    unit = float(np.abs(near).max())
    if unit == 0.0:
        return far
    shares = near / unit
    middle = fsum(shares) / len(shares)
    return max(far, unit * float(np.sqrt(fsum((shares - middle) ** 2) / len(shares))))


def _winsorised_mean(values: Vector) -> float:
    """The mean with the outer tenth at each end counted as the next value inwards."""
    inner = _winsorised(values)
    mean = fsum(inner) / len(inner)  # may be off by one rounding if all values are equal
    return min(max(mean, float(inner[0])), float(inner[-1]))


def _winsorised(values: Vector) -> Vector:
    ordered, cut = np.sort(values), _cut(len(values))
    return np.clip(ordered, ordered[cut], ordered[-1 - cut])


def _trimmed_mean(values: Vector) -> float:
    """The mean without the lowest and the highest tenth, at least one value at each end."""
    cut = _cut(len(values))
    middle = np.sort(values)[cut : len(values) - cut]
    return fsum(middle) / len(middle)


def _cut(number: int) -> int:
    return min(max(1, ceil(TRIMMED * number)), (number - 1) // 2)
