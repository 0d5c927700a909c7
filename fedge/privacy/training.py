"""What a training releases: its noise, its rounds, who takes part. The accountant tells its ε."""

import math
from dataclasses import dataclass
from typing import Literal

Noise = Literal["discrete", "normal"]
Adjacency = Literal["add-remove", "replace-one"]
Sampling = Literal["open", "secret"]

RANGE_SHARE = 0.01
"""The part of δ that distributed noise leaves for levels beyond the range (`fedge.masking.noise`)."""
SUMMED = 1000
"""The terms of τ that are added one by one; the others count as much as the first of them."""


@dataclass(frozen=True)
class Shares:
    """Distributed noise: the sum of shares that devices add."""

    devices: int
    """m, the shares that the adversary does not know (`fedge.privacy.mechanism.share_variance`)."""
    size: int
    """p, the entries of the sum."""
    sensitivity: int
    """Δ, in steps of the grid."""

    def __post_init__(self) -> None:
        if min(self.devices, self.size, self.sensitivity) < 1:
            raise ValueError(f"{self}: expected 1 or more of each")

    def excess(self, multiplier: float) -> float:
        """τ or slightly more: by this the sum of m discrete Gaussians of σ² / m differs from one of σ².

        Raises:
            ValueError: a share's deviation is below 1/2 of a step, for which the bound is not proven.
        """
        variance = (multiplier * self.sensitivity) ** 2 / self.devices
        if variance < 0.25:
            raise ValueError(
                f"each device's share of the noise is {math.sqrt(variance):.3g} steps, expected 1/2 or more: "
                "choose a finer grid"
            )
        exponent = -2 * math.pi**2 * variance
        few = min(self.devices, SUMMED)
        terms = [math.exp(exponent * k / (k + 1)) for k in range(1, few)]
        rest = (self.devices - few) * math.exp(
            exponent * few / (few + 1)
        )  # the terms fall: the first is largest
        return 10 * (math.fsum(terms) + rest)


@dataclass(frozen=True)
class Training:
    """What is released in a whole training: one noised sum a round."""

    multiplier: float
    """z: the standard deviation of the noise over Δ."""
    rounds: int
    """T."""
    noise: Noise = "discrete"
    adjacency: Adjacency = "add-remove"
    rate: float = 1.0
    """q, the probability with which each device takes part in a round."""
    fleet: int | None = None
    """N, where exactly q N of N devices are drawn for a round; None: each for itself (Poisson)."""
    sampling: Sampling = "open"
    shares: Shares | None = None
    """Of distributed noise; None: the noise is added once, or by the device itself."""

    def __post_init__(self) -> None:
        if not 0 < self.multiplier < math.inf:
            raise ValueError(f"a noise multiplier of {self.multiplier!r}, expected a number above 0")
        if self.rounds < 1 or not 0 < self.rate <= 1:
            raise ValueError(
                f"{self.rounds} rounds at rate {self.rate}, expected 1 or more, and 0 < rate <= 1"
            )
        if self.shares is not None and (self.noise != "discrete" or self.amplified):
            raise ValueError(
                "shares of the noise are discrete, and their sum has no amplification by sampling"
            )
        if self.fleet is not None and self.amplified:
            if self.noise != "normal" or self.adjacency != "replace-one":
                raise ValueError("a sample of fixed size has a bound for normal noise and replace-one alone")
            if self.fleet < 1:
                raise ValueError(f"a fleet of {self.fleet} devices, expected 1 or more")

    @property
    def amplified(self) -> bool:
        """Whether sampling counts."""
        return self.sampling == "secret" and self.rate < 1

    @property
    def effective(self) -> float:
        """z with respect to what a neighbouring data set changes."""
        return self.multiplier / (2 if self.adjacency == "replace-one" else 1)

    @property
    def drawn(self) -> int:
        """The number of devices in a sample of fixed size."""
        return math.ceil(round(self.rate * (self.fleet or 0), 9))

    def accounted(self, delta: float) -> float:
        """The part of δ that the composition of the releases may take."""
        return delta if self.shares is None else (1 - RANGE_SHARE) * delta

    @property
    def composition(self) -> str:
        """The name of the composition: RDP, PLD or exact."""
        if self.noise == "discrete" or (self.amplified and self.fleet is not None):
            return "RDP"
        return "PLD" if self.amplified else "exact"
