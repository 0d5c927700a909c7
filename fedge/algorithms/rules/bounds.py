"""Bound how far one update can move the mean, by its difference from the base and its n_k. Pure.

The updates are bounded before any rule sees them (law 7), so these bounds hold for every rule.

The bounds are relative to the round's own median, which one liar cannot choose:

* a difference w_k - base longer than `clip_norm` times the median norm is shortened to that length;
* an n_k counts as at most `max_weight` times the median n_k. It is reduced further until n_k times length is
  at most `clip_norm` times the product of the medians, but not below one median. So no update pulls the mean
  harder than `clip_norm` usual ones.

Bounds on lengths apply from five updates on. Among fewer, one liar would be too large a part of the median.
Further vectors of updates, like SCAFFOLD's control variate, are what the server adds up over rounds. They are
bounded from two updates on, in rounds of fewer than five by `LOOSER` times `clip_norm` median lengths: so one
liar adds at most `LOOSER` c M / K to the uniform mean of K vectors. Of two, M is the shorter one's length.

The median is the *lower* one, the element (K - 1) // 2 of the sorted K, unweighted: with an even number it is
the smaller of the two in the middle and not their average, so an extreme value never enters it. With one liar
among K ≥ 3 it lies between the smallest and the largest of the honest; of two it is the smaller, so that a
liar can lower it and never raise it. If the median norm is 0, most devices did not move; then nobody moves
the model.

So with one liar among K updates, M their median norm, c = `clip_norm` and m = `max_weight`:

* its share s of Σ n_k is at most m / (m + K // 2), for K // 2 others have the median n_k or more;
* from K = 5 on, where n_k counts as t median ones and the difference has the length d ≤ c M / max(1, t), the
  liar adds s d ≤ t / (t + K // 2) · c M / max(1, t) ≤ c M / (1 + K // 2) to the mean; against the mean of the
  others, with the lengths and weights that they have in this round,
  ‖mean - mean of others‖ ≤ s d + s ‖mean of others - base‖ ≤ c M / (1 + K // 2) + s ‖mean of others - base‖.

**Clusters.** Where devices train several shared models, these bounds hold for each cluster of five updates
or more by itself, K being its updates. In a smaller cluster a liar may be alone. There the medians of the
whole round count, each update measured from the model of its own cluster. So in a round of five updates or
more, whatever the devices of a small cluster send, its model moves by at most c M, M the round's median
norm: a mean of points that are no further than c M from the base is not further either.

**Steps.** For a rule that weighs by local steps τ_k, a device's τ_k counts as at least 1 and at most m times
the lower median T of the round's τ_k. With one liar of share s = p_liar ≤ m / (m + K // 2) among the shares
p_k = n_k / Σ n_k, and τ' ≥ 1 the mean of the others' steps, FedNova's τ_eff = Σ p_k τ_k is off by

    τ_eff - τ' = s (τ_liar - τ'),    so    -s τ' < τ_eff - τ' < s m T.

By what its steps say, a liar of twenty (m = 10, s ≤ 1/2) makes a round's step at most 2 times shorter than
the others would, or longer by the factor 1 + 5 T / τ'. With n_k like the others' (s = 1/20) these are 5 % and
a factor of 1 + T / (2 τ'). It does not change the direction.

Clipping updates to a quantile of their norms: Andrew, Thakkar, McMahan, Ramaswamy, "Differentially Private
Learning with Adaptive Clipping", NeurIPS 2021, https://arxiv.org/abs/1905.03871, section 2; here the quantile
is of the round itself, a multiple of it, and there is no noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from statistics import median_low
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.contribution import MAX_SAMPLES

FEWEST = 5
"""With fewer updates no difference is clipped."""
LOOSER = 4.0
"""With fewer updates, the factor of `clip_norm` for further vectors."""
BLOCK = 16_384
"""The number of entries whose squares are added by a binary tree; a power of two."""
FEW = 32
"""So many numbers are added faster one by one than by calls of NumPy; a power of two."""

Vector = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Factors:
    """The bounds as multiples of the medians; 0: no bound."""

    clip_norm: float = 2.5
    max_weight: float = 10.0


@dataclass(frozen=True)
class Medians:
    """The medians that bounds are relative to."""

    norm: float
    samples: int
    updates: int
    """The number of updates that they are of."""

    @classmethod
    def of(cls, norms: Sequence[float], samples: Sequence[int]) -> "Medians":
        """Those of some updates, at least one."""
        return cls(median_low(norms), median_low(samples), len(norms))


@dataclass(frozen=True)
class Bounds:
    """How much each update of a round counts, in the order of the given norms and n_k."""

    median_norm: float
    median_samples: int
    clip: float
    """The length at which differences or vectors are clipped; inf: at none."""
    scales: tuple[float, ...]
    """The factor of each difference; 1: it counts unchanged."""
    weights: tuple[int, ...]
    """The n_k that counts, for each update."""


def bounds(
    norms: Sequence[float],
    samples: Sequence[int],
    factors: Factors,
    whole: Medians | None = None,
    *,
    further: bool = False,
) -> Bounds:
    """Bound the updates of one round, or of one of its clusters.

    Args:
        norms: ‖w_k - base‖ of each update, as `distance` measures it; at least one.
        samples: n_k of each, in the same order; each at least 1.
        factors: the federation's, or those stored with a round that is computed again.
        whole: the medians of the whole round, which count where these updates are fewer than `FEWEST`.
        further: whether the norms are those of a further vector, which the server adds up over rounds.
    """
    among = Medians.of(norms, samples) if whole is None or len(norms) >= FEWEST else whole
    norm, count = among.norm, among.samples
    clip = _clip(factors, among, further=further)
    cap = max(1, math.floor(min(MAX_SAMPLES, factors.max_weight * count))) if factors.max_weight else None

    def weight(norm: float, samples: int) -> int:
        if cap is None:
            return samples
        pulled = cap if norm * cap <= clip * count else max(count, math.floor(clip * count / norm))
        return min(samples, cap, pulled)

    return Bounds(
        norm,
        count,
        clip,
        tuple(1.0 if each <= clip else clip / each for each in norms),
        tuple(weight(*each) for each in zip(norms, samples, strict=True)),
    )


def _clip(factors: Factors, among: Medians, *, further: bool) -> float:
    """The length at which vectors are clipped."""
    few = among.updates < FEWEST
    if not factors.clip_norm or (few and not (further and among.updates > 1)):
        return math.inf
    return factors.clip_norm * (LOOSER if few else 1.0) * among.norm


def bounded_steps(steps: Sequence[int], factors: Factors) -> tuple[int, ...]:
    """The steps that count, for each update of one round: at least 1, at most `max_weight` median ones.

    >>> bounded_steps((5, 0, 2**63 - 1, 7, 5), Factors(max_weight=10))
    (5, 1, 50, 7, 5)

    Args:
        steps: τ_k as each device tells it; at least one.
        factors: as in `bounds`; with `max_weight` 0 there is no upper bound.
    """
    told = [max(1, each) for each in steps]
    if not factors.max_weight:
        return tuple(told)
    most = max(1, math.floor(min(MAX_SAMPLES, factors.max_weight * median_low(told))))
    return tuple(min(each, most) for each in told)


def distance(base: Vector, vector: Vector) -> float:
    """‖vector - base‖ of two vectors (p,), in float64, the same bits on every machine.

    Neither BLAS nor NumPy guarantees the order of a sum, so this has its own: squares are added pairwise
    within blocks of 16,384, and the blocks one after another. Float32 entries neither overflow nor underflow.
    """
    total = 0.0
    rows = min(BLOCK, 1 << max(0, len(vector) - 1).bit_length())
    squares = np.empty(min(rows, len(vector)))
    for start in range(0, len(vector), rows):
        stop = min(start + rows, len(vector))
        part = squares[: stop - start]
        np.subtract(vector[start:stop], base[start:stop], out=part, dtype=np.float64)
        np.multiply(part, part, out=part)
        total += _sum_of_one(part, rows)
    return math.sqrt(total)


def distances(base: Vector, vectors: Vector) -> list[float]:
    """As `distance`, of each of `vectors` (k, p): the same bits, in fewer calls."""
    width = vectors.shape[1]
    rows = min(BLOCK, 1 << max(0, width - 1).bit_length())
    totals = np.zeros(len(vectors))
    for start in range(0, width, rows):
        part = np.subtract(vectors[:, start : start + rows], base[start : start + rows], dtype=np.float64)
        np.multiply(part, part, out=part)
        totals += sum_by_halves(part, rows)
    found: list[float] = np.sqrt(totals).tolist()
    return found


def clipped(base: Vector, vector: Vector, scale: float) -> Vector:
    """`base` + `scale` · (`vector` - `base`), in float64, (p,); where `scale` is 1, the vector itself."""
    if scale == 1.0:
        return vector
    difference = np.subtract(vector, base, dtype=np.float64)
    difference *= scale
    difference += base
    return difference


def _sum_of_one(values: NDArray[np.float64], size: int) -> float:
    """As `sum_by_halves`, of values (b,) that are not negative: the same bits, in less time."""
    while size > FEW:
        size //= 2
        upper = values[size:]
        lower = values[: len(upper)]
        np.add(lower, upper, out=lower)
        values = values[:size]
    few: list[float] = values.tolist()
    while size > 1:
        size //= 2
        few = [a + b for a, b in zip_longest(few[:size], few[size:], fillvalue=0.0)]
    return few[0]


def sum_by_halves(values: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The sums of `values`, (…, b), over the last axis, of shape (…); overwrites them.

    They are added by a binary tree, as if there were `size` of them whose others are 0; `size` is a power of
    two, b or more. So the order is the same on every machine.
    """
    while size > 1:
        size //= 2
        upper = values[..., size:]
        values = values[..., :size]
        values[..., : upper.shape[-1]] += upper
    return values[..., 0]
