"""A clip that follows a quantile of the lengths of updates, itself under noise.

Andrew, Thakkar, McMahan and Ramaswamy 2021, "Differentially Private Learning with Adaptive Clipping",
NeurIPS, https://arxiv.org/abs/1905.03871, Algorithm 1. Each device that came has a bit, b_k = 1 if its update
is no longer than the clip C. With the wanted quantile γ, a rate η and the declared cohort m:

    C ← C · exp(-η (Σ (b_k - γ) + N_Z(0, σ_b²)) / m)

The paper adds b_k - 1/2 and divides by the number that came. Here each bit is counted from γ, so that devices
that did not come do not move the clip. One device changes the sum by at most h = max(γ, 1 - γ); with γ = 1/2
this is the paper's 1/2.

**Cost** (their Theorem 1). A round releases the sum of the updates, with a noise multiplier z_Δ, and the
count of bits, with z_b = σ_b / h. Together they are one Gaussian mechanism with multiplier z where

    1 / z² = 1 / z_Δ² + 1 / z_b²,     so     z_Δ = (1 / z² - 1 / z_b²)^(-1/2).

z is what the accountant is told. σ_b = m / 20, as the paper proposes, costs little: with m = 1000, γ = 1/2
and z = 1, z_Δ is 1.00005. σ_b must be larger than h z.

**Influence.** One device moves C by at most the factor exp(η h / m) in a round; a round, by at most exp(η).
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from fedge.privacy.discrete_gaussian import sample
from fedge.privacy.exponential import times_exp
from fedge.privacy.randomness import Source

RANGE = 2.0**20
"""The clip stays within this factor of the one that it began with."""


@dataclass(frozen=True)
class AdaptiveClip:
    """The parameters of the clip, all public."""

    quantile: Fraction
    """γ, in (0, 1)."""
    rate: Fraction
    """η."""
    noise: Fraction
    """σ_b, the standard deviation of the noise in the count of devices."""
    cohort: int
    """m."""

    def __post_init__(self) -> None:
        if not 0 < self.quantile < 1 or self.rate <= 0 or self.noise <= 0 or self.cohort < 1:
            raise ValueError(f"{self}: expected a quantile between 0 and 1, and the others above 0")

    @property
    def bit_multiplier(self) -> Fraction:
        """z_b = σ_b / max(γ, 1 - γ)."""
        return self.noise / max(self.quantile, 1 - self.quantile)

    def update_multiplier(self, multiplier: float) -> float:
        """z_Δ, the noise multiplier of the updates, where the whole round is to have `multiplier`.

        Raises:
            ValueError: the bits alone would cost as much: σ_b is too small.
        """
        rest = 1 / Fraction(multiplier) ** 2 - 1 / self.bit_multiplier**2
        if rest <= 0:
            least = float(multiplier * max(self.quantile, 1 - self.quantile))
            raise ValueError(
                f"noise of {float(self.noise):g} in the count of devices, expected more than {least:g}: "
                "raise it, or lower the noise multiplier"
            )
        # Rounded up: less noise than was accounted for is never added.
        return (1 + 2.0**-50) / math.sqrt(rest)

    def following(self, clip: float, within: int, came: int, source: Source, first: float) -> float:
        """The next round's C, on every machine the same.

        Args:
            clip: C.
            within: Σ b_k.
            came: the number of updates, at most m.
            source: secret random bits.
            first: the clip of the first round.
        """
        n, d = self.quantile.numerator, self.quantile.denominator
        # In units of 1 / d the bits count as whole numbers, d - n or -n.
        counted = d * within - n * came + int(sample((d * self.noise) ** 2, 1, source)[0])
        off = min(max(Fraction(counted, d * self.cohort), Fraction(-1)), Fraction(1))
        found = times_exp(clip, -self.rate * off)
        return min(max(found, first / RANGE), first * RANGE)
