"""The Gaussian mechanism on a sum of updates, in whole numbers: clip, round, add up, add noise, divide.

McMahan, Ramage, Talwar and Zhang 2018, "Learning Differentially Private Recurrent Language Models", ICLR,
https://arxiv.org/abs/1710.06963, with the fixed denominator of section 3; the noise is the discrete Gaussian
of Canonne, Kamath and Steinke 2020 (`fedge.privacy.discrete_gaussian`), whose Rényi divergences under shifts
by whole numbers are at most those of the normal distribution (their Proposition 5).

With base w, devices' weights w_k of shape (p,), a clip S, a grid of step g = S / 2^b, and a declared cohort
of m devices:

    x_k = round(min(1, S / ‖w_k - w‖) (w_k - w) / g)         whole numbers
    w + g (Σ x_k + N_Z(0, z² Δ²)) / m

**Sensitivity.** Clipped, the difference has a length of at most 2^b steps. Rounding to the nearest whole
number moves each of p entries by at most 1/2, so

    ‖x_k‖ ≤ Δ = 2^b + ceil(√p / 2),

and one device more or less changes Σ x_k by at most Δ; one device in another's place by at most 2 Δ. No
probability and no rounding error enters: each x_k is checked against Δ² in whole numbers. With b = 20 and
p = 199,210 the noise is larger by 2e-4 than without rounding. (Kairouz et al. 2021, section 4.1, round at
random instead, on much coarser grids, which save bytes on the wire; there the bound needs care.)

**Fixed denominator.** m is declared, and is not the number that came: dividing by that number would double
the sensitivity. A round with fewer devices makes a shorter step. More than m are refused.

**Order.** Whole numbers add up to the same sum in any order. The noise enters once, and is part of the sum
before anything else is computed. What follows is post-processing.

**Influence.** One device moves the model by at most S / m + g √p / 2m, whatever it sends.

For *distributed* noise each device adds its share before its vector is masked (`share`), so that only the sum
of all shares hides it from the server. *Local* noise is the same with one device: each hides itself.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.rules.bounds import distance
from fedge.privacy.discrete_gaussian import sample
from fedge.privacy.randomness import Source

Vector = NDArray[np.floating[Any]]
Whole = NDArray[np.int64]

MOST_DEVICES = 2**31
"""The largest cohort: with 24 bits, the sum stays below 2⁵⁷."""
GRID_BITS = range(8, 25)
"""The possible b."""


@dataclass(frozen=True)
class Grid:
    """The public grid of a round: whole numbers of steps of S / 2^b, in p entries."""

    clip: float
    """S, the length that a difference is clipped to."""
    size: int
    """p."""
    bits: int = 20
    """b."""

    def __post_init__(self) -> None:
        if not 1e-100 < self.clip < 1e100:  # also NaN; products with 2^b stay in the range of float64
            raise ValueError(f"a clip of {self.clip!r}, expected a length above 0")
        if self.size < 1 or self.bits not in GRID_BITS:
            raise ValueError(f"a grid of {self.size} entries, {self.bits} bits; expected 1 or more, and 8…24")

    @property
    def step(self) -> float:
        """S / 2^b, exactly."""
        return math.ldexp(self.clip, -self.bits)

    @property
    def sensitivity(self) -> int:
        """Δ in steps: the most that one device more or less changes the sum, in Euclidean length."""
        return (1 << self.bits) + _half_root(self.size)

    def rounded(self, base: Vector, vector: Vector) -> Whole:
        """x_k of shape (p,): the clipped difference of `vector` from `base`, in steps; ‖x_k‖ ≤ Δ.

        An update that is not finite counts as no change.

        Raises:
            ValueError: the vectors do not have p entries.
        """
        if base.shape != (self.size,) or vector.shape != (self.size,):
            raise ValueError(f"vectors of shape {base.shape} and {vector.shape}, expected ({self.size},)")
        with np.errstate(over="ignore", invalid="ignore"):
            length = distance(base, vector)
            if not math.isfinite(length):
                return np.zeros(self.size, np.int64)
            change = np.subtract(vector, base, dtype=np.float64)
            if length > self.clip:
                change *= self.clip / length
            change /= self.step
            found = np.rint(change, out=change).astype(np.int64)
        if int((found * found).sum()) > self.sensitivity**2:  # rounding errors never add up to this
            return np.zeros(self.size, np.int64)
        return found

    def noise_variance(self, multiplier: float | Fraction) -> Fraction:
        """σ² = z² Δ², in steps², exactly; z is the noise multiplier."""
        return Fraction(multiplier) ** 2 * self.sensitivity**2

    def moved(self, base: Vector, total: Whole, cohort: int) -> NDArray[np.float64]:
        """The next weights of shape (p,): `base` + g · `total` / m, in float64."""
        found: NDArray[np.float64] = np.add(base, total * (self.step / cohort), dtype=np.float64)
        return found


@dataclass(frozen=True)
class Sum:
    """The sum of a round without noise: it must not leave the computation that adds the noise."""

    total: Whole
    """Σ x_k of shape (p,)."""

    def noised(self, variance: Fraction, source: Source) -> Whole:
        """The sum with noise N_Z(0, σ²) in each entry, of shape (p,)."""
        return self.total + sample(variance, len(self.total), source)


def share_variance(variance: Fraction, honest: int) -> Fraction:
    """The variance σ² / m of each device's share of distributed noise.

    Args:
        variance: σ², that of the sum of m shares.
        honest: m, the fewest shares that the adversary does not know: the cohort without the dropouts that a
            round may have, and without the devices that may work together with the server. More shares than
            that only add noise.

    Raises:
        ValueError: no share would be left.
    """
    if honest < 1:
        raise ValueError(f"{honest} devices share the noise: fewer dropouts or colluders, or a larger cohort")
    return variance / honest


def share(grid: Grid, base: Vector, vector: Vector, variance: Fraction, source: Source) -> Whole:
    """What a device adds to the sum with distributed or local noise: x_k + N_Z(0, σ² / m), of shape (p,).

    It is masked before it leaves the device; for local noise (m = 1) it can leave as it is.

    Args:
        grid: the round's.
        base: the weights that the round began with, of shape (p,).
        vector: the device's weights, of shape (p,).
        variance: as `share_variance` returns it.
        source: the device's own secret randomness.
    """
    return Sum(grid.rounded(base, vector)).noised(variance, source)


def _half_root(size: int) -> int:
    """ceil(√size / 2)."""
    return -(-(math.isqrt(size - 1) + 1) // 2)
