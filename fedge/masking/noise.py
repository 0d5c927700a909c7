"""Distributed noise in the ring: each device adds its share of it to its levels before they are masked.

The share is that of `fedge.privacy.mechanism`: with m shares that nobody knows, a step g = S / 2^b and the
sensitivity Δ in steps,

    q_k = x_k + N_Z(0, σ² / m),   ‖x_k‖ ≤ Δ,   σ = z Δ.

**m.** A device signs survivors only if they are t or more (`fedge.masking.thresholds`). So of a sum that is
revealed, whatever the server does, at least t - c shares are those of honest devices: m = t - c.

**Range.** A level beyond ±L becomes ±L, so that no sum leaves the ring: there is no wrap-around. Such a level
has another distribution than the one that is accounted for. X = N_Z(0, τ²) has E exp(h X) ≤ exp(h² τ² / 2):
the sum of exp(-(x - h τ²)² / 2 τ²) over whole x is at most that of exp(-x² / 2 τ²), by Poisson's formula. So
|X| ≥ k has a probability of at most 2 exp(-k² / 2 τ²), and in a training of T rounds of n devices and p
entries any level is beyond ±L with a probability of at most

    β = 2 n p T exp(-(L - Δ)² / 2 (σ² / m)).

`value_bits` is the least with β ≤ 2⁻⁴⁰. If a mechanism is (ε, δ)-private and another one differs from it with
a probability of at most β, then that one is (ε, δ + (1 + e^ε) β)-private.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from fedge.masking.thresholds import SECURITY_BITS, default_threshold
from fedge.privacy.accountant import Guarantee, Shares, Training, guarantee
from fedge.privacy.mechanism import Grid, Vector, share, share_variance
from fedge.privacy.randomness import Source
from fedge.privacy.training import RANGE_SHARE
from fedge.wire.messages.protection import Masks, Privacy

MOST_ROUNDS = 10**6
LEAST_BITS, MOST_BITS = 2, 16
"""Of a level, as `fedge.masking.ring.Ring` has them."""


@dataclass(frozen=True)
class NoisyLevels:
    """The levels of a training with distributed noise; all of it is public.

    Raises:
        ValueError: no device's share is safe, or no level is wide enough.
    """

    grid: Grid
    """S, p and b."""
    multiplier: Fraction
    """z."""
    devices: int
    """n, of a cohort."""
    colluders: int
    """c, the devices that may help the server and so tell it their shares."""
    rounds: int
    """T."""
    threshold: int | None = None
    """t; None: `default_threshold`."""

    def __post_init__(self) -> None:
        if self.multiplier <= 0 or min(self.devices, self.rounds) < 1 or self.colluders < 0:
            raise ValueError(f"no noise for {self}")
        if share_variance(self._variance, self.honest) < Fraction(1, 4):
            raise ValueError(
                f"a share of the noise of less than half a step, with {self.honest} honest devices: a finer "
                "grid, or more noise"
            )
        if self._bits is None:
            raise ValueError(
                f"levels of {MOST_BITS} bits are too narrow for noise of {float(self.multiplier):g} "
                f"sensitivities on a grid of {self.grid.bits} bits: a coarser grid, or more devices"
            )

    @classmethod
    def promised(cls, privacy: Privacy, masks: Masks) -> "NoisyLevels":
        """Those that a manifest promises.

        Raises:
            ValueError: what it promises contradicts itself, or no noise could keep it; the text says why.
        """
        shares = privacy.shares
        if shares is None:
            raise ValueError("it does not say how devices share the noise")
        if shares.devices > masks.threshold:
            raise ValueError(
                f"{shares.devices} shares make the noise, and a sum may have {masks.threshold} of them"
            )
        if privacy.rounds > MOST_ROUNDS or masks.groups is not None or (masks.max_weight or 1) != 1:
            raise ValueError("its noise is of one sum a round, in which each device counts the same")
        found = cls(
            Grid(privacy.clip, shares.size, shares.grid_bits),
            Fraction(privacy.noise_multiplier),
            privacy.cohort,
            masks.threshold - shares.devices,
            privacy.rounds,
            masks.threshold,
        )
        if (masks.value_bits, masks.clip) != (found.value_bits, found.clip):
            raise ValueError(
                f"levels of {masks.value_bits} bits are not those of its noise, {found.value_bits} bits"
            )
        return found

    @property
    def threshold_needed(self) -> int:
        """t, the fewest shares in a sum."""
        return default_threshold(self.devices) if self.threshold is None else self.threshold

    @property
    def honest(self) -> int:
        """m = t - c, the shares in a sum that the server cannot know."""
        least = self.threshold_needed
        if least <= self.colluders:
            raise ValueError(f"{self.colluders} colluders of {least} survivors: nobody's share is unknown")
        return least - self.colluders

    @property
    def value_bits(self) -> int:
        """The bits of a level, for the terms; a ring for n of them follows (`fedge.masking.ring.Ring`)."""
        assert self._bits is not None, "as __post_init__ has seen"
        return self._bits

    @property
    def levels(self) -> int:
        """L, the largest level."""
        return _largest(self.value_bits)

    @property
    def clip(self) -> float:
        """The clip for the terms: L steps, so that a level is a step."""
        return self.grid.step * self.levels

    @property
    def beyond(self) -> float:
        """β, the most probable that any level of the training is beyond ±L."""
        return math.pow(2.0, self._beyond_bits(self.value_bits))

    def noised(self, base: Vector, vector: Vector, source: Source) -> NDArray[np.int64]:
        """A device's levels of shape (p,) with its share of the noise, in -L…L: what is masked.

        Args:
            base: the weights that the round began with, of shape (p,).
            vector: the device's weights, of shape (p,).
            source: the device's own secret randomness, new for each update that is masked.
        """
        variance = share_variance(self._variance, self.honest)
        found = share(self.grid, base, vector, variance, source)
        return np.clip(found, -self.levels, self.levels)

    def moved(self, base: Vector, total: NDArray[np.int64]) -> NDArray[np.float64]:
        """The next weights of shape (p,), from the sum of levels: it is divided by n, whoever survives."""
        return self.grid.moved(base, total, self.devices)

    def training(self) -> Training:
        """What the accountant composes; `Shares` is its term for the sum of discrete shares."""
        shares = Shares(self.honest, self.grid.size, self.grid.sensitivity)
        return Training(float(self.multiplier), self.rounds, shares=shares)

    def guarantee(self, delta: float) -> Guarantee:
        """ε at δ; a hundredth of δ is for the range, which takes (1 + e^ε) β.

        Raises:
            ConfigError: dp-accounting is not installed.
            ValueError: δ is too small for what the range takes, or as `accountant.guarantee`.
        """
        training = self.training()
        found = guarantee(training, training.accounted(delta))
        taken = (1 + math.exp(min(found.epsilon, 700.0))) * self.beyond
        if taken > RANGE_SHARE * delta:
            raise ValueError(f"the range of the levels takes {taken:.2g} of a delta of {delta:g}")
        return Guarantee(found.epsilon, delta, found.training)

    @property
    def _variance(self) -> Fraction:
        return self.grid.noise_variance(self.multiplier)

    @property
    def _bits(self) -> int | None:
        for bits in range(LEAST_BITS, MOST_BITS + 1):
            if self._beyond_bits(bits) <= -SECURITY_BITS:
                return bits
        return None

    def _beyond_bits(self, bits: int) -> float:
        """log2 of β for levels of so many bits; 0: they are too narrow for any bound."""
        room = _largest(bits) - self.grid.sensitivity
        if room <= 0:
            return 0.0
        each = Fraction(room**2) / (2 * share_variance(self._variance, self.honest))
        count = 2 * self.devices * self.grid.size * self.rounds
        return math.log2(count) - float(each) / math.log(2)


def _largest(bits: int) -> int:
    return (1 << (bits - 1)) - 1
