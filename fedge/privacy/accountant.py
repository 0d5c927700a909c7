"""The accountant: ε of a whole training, and the noise for a wanted ε.

The composition is that of Google's dp-accounting (the extra `privacy`), as the noise allows:

| noise | rounds that a device may be in | composition |
|---|---|---|
| discrete | all | RDP: ρ(α) = T α / 2z²; Canonne, Kamath and Steinke 2020, Proposition 5 |
| discrete | a secret Poisson sample | RDP at whole orders; Mironov, Talwar and Zhang 2019, arXiv:1908.10530 |
| discrete, the sum of shares | all | RDP with τ; Kairouz, Liu and Steinke 2021, Proposition 14 |
| normal | all | exact: T rounds are one with z / √T; Balle and Wang 2018, arXiv:1805.06083 |
| normal | a secret sample of fixed size | RDP; Wang, Balle and Kasiviswanathan 2019, arXiv:1808.00087 |
| normal | a secret Poisson sample | PLD; Koskela, Jälkö and Honkela 2020, arXiv:1906.03049 |

`fedge.privacy.mechanism` adds discrete noise. For it PLD is not proven, and RDP is; the price is about 8 % in
ε. The moments that RDP at whole orders needs, E exp(k ⟨x, s⟩ / σ²) for whole k and shifts s in whole numbers,
are those of the normal distribution, so its results for samples hold too.

**Adjacency.** z is the noise over Δ, what one device more or less changes (`add-remove`). One device in
another's place (`replace-one`) changes twice as much.

**Sampling** amplifies privacy only where nobody, the adversary included, knows who was chosen. Where devices
and the broker see who takes part, it does not. So `rate` counts only with `sampling = "secret"`, which a
caller says that enforces it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from fedge.privacy.compositions import exact, loss_distribution, renyi
from fedge.privacy.training import Adjacency, Noise, Sampling, Shares, Training

__all__ = [
    "CLOSE",
    "Adjacency",
    "Guarantee",
    "Noise",
    "Sampling",
    "Shares",
    "Training",
    "guarantee",
    "multiplier_for",
]

CLOSE = {"RDP": 1e-6, "exact": 1e-6, "PLD": 1e-3}
"""How close a searched noise multiplier comes, by composition; PLD takes a second for each that is tried."""

EPSILON = {"RDP": renyi.epsilon, "PLD": loss_distribution.epsilon, "exact": exact.epsilon}
"""The function of each composition."""


@dataclass(frozen=True)
class Guarantee:
    """(ε, δ)-differential privacy of the devices of a training."""

    epsilon: float
    delta: float
    training: Training

    def __str__(self) -> str:
        told = self.training
        sampled = f", a secret sample of {told.rate:g} in each" if told.amplified else ""
        return (
            f"ε = {self.epsilon:.4g} at δ = {self.delta:g} ({told.composition}, {told.adjacency}; "
            f"{told.rounds} rounds{sampled}, {told.noise} noise of {told.multiplier:.4g} sensitivities)"
        )


def guarantee(training: Training, delta: float) -> Guarantee:
    """The ε of a training.

    Args:
        training: what is released.
        delta: δ, in (0, 1); much smaller than one by the number of devices.

    Raises:
        ConfigError: dp-accounting is not installed.
        ValueError: δ is out of range, or there is no bound for this training; the text says why.
    """
    if not 0 < delta < 1:
        raise ValueError(f"a delta of {delta!r}, expected a number between 0 and 1")
    found = EPSILON[training.composition](training, delta)
    return Guarantee(max(0.0, found), delta, training)


def multiplier_for(epsilon: float, training: Training, delta: float) -> float:
    """The least noise multiplier, but for `CLOSE`, with which the training has at most this ε.

    Args:
        epsilon: ε, above 0.
        training: what is released; its own multiplier does not count.
        delta: δ.

    Raises:
        ConfigError: dp-accounting is not installed.
        ValueError: no multiplier up to a million has this ε, or as `guarantee`.
    """
    if not 0 < epsilon < math.inf:
        raise ValueError(f"an epsilon of {epsilon!r}, expected a number above 0")

    def enough(multiplier: float) -> bool:
        return guarantee(replace(training, multiplier=multiplier), delta).epsilon <= epsilon

    near, step = 1.0, 2.0
    if training.composition == "PLD" and training.adjacency == "add-remove":  # slow: begin where RDP ends
        near, step = multiplier_for(epsilon, replace(training, noise="discrete"), delta), 1.125
    return _least(enough, 1 + CLOSE[training.composition], near, step)


def _least(enough: Callable[[float], bool], close: float, near: float, step: float) -> float:
    """The least number that is enough, but for a factor of `close`; by steps from `near` and by bisection."""
    high = near
    while not enough(high):
        high *= step
        if high > 1e6:
            raise ValueError(
                "no noise multiplier up to 1,000,000 is enough: fewer rounds, or a larger epsilon"
            )
    low = high / step
    while enough(low):
        low, high = low / step, low
        if high < 1e-3:
            return high
    while high / low > close:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
