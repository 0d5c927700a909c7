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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from fedge.errors import ConfigError

Noise = Literal["discrete", "normal"]
Adjacency = Literal["add-remove", "replace-one"]
Sampling = Literal["open", "secret"]

CLOSE = {"RDP": 1e-6, "exact": 1e-6, "PLD": 1e-3}
"""How close a searched noise multiplier comes, by composition; PLD takes a second for each that is tried."""

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
    def drawn(self) -> int:
        """The number of devices in a sample of fixed size."""
        return math.ceil(round(self.rate * (self.fleet or 0), 9))

    @property
    def composition(self) -> str:
        """The name of the composition: RDP, PLD or exact."""
        if self.noise == "discrete" or (self.amplified and self.fleet is not None):
            return "RDP"
        return "PLD" if self.amplified else "exact"


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
    if training.composition == "RDP":
        found = _renyi(training, delta)
    elif training.composition == "PLD":
        found = _loss_distribution(training, delta)
    else:
        found = _exact(training, delta)
    return Guarantee(max(0.0, float(found)), delta, training)


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


def _effective(training: Training) -> float:
    """z with respect to what a neighbouring data set changes."""
    return training.multiplier / (2 if training.adjacency == "replace-one" else 1)


def _renyi(training: Training, delta: float) -> float:
    dp = _dp_accounting()
    orders: Sequence[float] = dp.rdp.rdp_privacy_accountant.DEFAULT_RDP_ORDERS
    z, rounds = _effective(training), training.rounds
    if not training.amplified:
        rho = [rounds * _order(order, z, training) for order in orders]
        return float(dp.rdp.compute_epsilon(orders, rho, delta)[0])
    if training.fleet is not None:
        accountant = dp.rdp.RdpAccountant(neighboring_relation=dp.NeighboringRelation.REPLACE_ONE)
        # This event's noise is in what one device in another's place changes: z / 2.
        event = dp.SampledWithoutReplacementDpEvent(training.fleet, training.drawn, dp.GaussianDpEvent(z))
        accountant.compose(event, rounds)
        return float(accountant.get_epsilon(delta))
    if training.adjacency == "replace-one":
        raise ValueError(
            "no bound is known here for replace-one with a sample and discrete noise: add-remove"
        )
    whole = [order for order in orders if order == int(order)]
    accountant = dp.rdp.RdpAccountant(whole, dp.NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(dp.PoissonSampledDpEvent(training.rate, dp.GaussianDpEvent(z)), rounds)
    return float(accountant.get_epsilon(delta))


def _order(order: float, z: float, training: Training) -> float:
    """The Rényi divergence of one round, at this order."""
    shares = training.shares
    if shares is None:
        return order / (2 * z**2)
    tau = shares.excess(training.multiplier)
    first = order / (2 * z**2) + tau * shares.size
    second = order / 2 * (1 / z + tau * math.sqrt(shares.size)) ** 2
    return min(first, second)


def _loss_distribution(training: Training, delta: float) -> float:
    dp = _dp_accounting()
    relations = dp.NeighboringRelation
    replaced = training.adjacency == "replace-one"
    # This event's noise is in what one device more or less changes, with either relation.
    event = dp.PoissonSampledDpEvent(training.rate, dp.GaussianDpEvent(training.multiplier))
    accountant = dp.pld.PLDAccountant(relations.REPLACE_ONE if replaced else relations.ADD_OR_REMOVE_ONE)
    accountant.compose(event, training.rounds)
    return float(accountant.get_epsilon(delta))


def _exact(training: Training, delta: float) -> float:
    return float(
        _dp_accounting().get_epsilon_gaussian(_effective(training) / math.sqrt(training.rounds), delta)
    )


def _dp_accounting() -> Any:
    """The package, which only this module knows.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"privacy accounting needs the extra 'privacy' ({error.name} is missing): "
            "pip install 'fedge[privacy]'"
        ) from None
    return dp_accounting
