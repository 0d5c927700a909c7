"""How long each device of a study trains in a round, in virtual seconds. Pure."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fleet.study.settings import SpeedsSection


def drawn(speeds: SpeedsSection, devices: Sequence[str], seed: int) -> dict[str, float]:
    """The seconds of each device. They do not depend on its rows.

    Args:
        speeds: the distribution, and perhaps a seed of its own.
        devices: the names, in the order in which they draw.
        seed: of the run.
    """
    rng = np.random.default_rng([seed if speeds.seed is None else speeds.seed, 2])
    factors = _factors(speeds, len(devices), rng)
    return dict(zip(devices, (speeds.median_s * factors).tolist(), strict=True))


def _factors(speeds: SpeedsSection, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The seconds of n devices as multiples of `median_s`, of shape (n,)."""
    if speeds.by == "lognormal":  # exp(σ z), z from the standard normal distribution: median 1
        return rng.lognormal(0.0, speeds.sigma, n)
    if speeds.by == "pareto":  # x_m u^(-1/α), u uniform in (0, 1], with x_m = 2^(-1/α): median 1
        return (2.0 * (1.0 - rng.random(n))) ** (-1.0 / speeds.alpha)
    factors = np.ones(n)
    factors[rng.permutation(n)[: max(1, round(speeds.share * n))]] = speeds.times
    return factors
