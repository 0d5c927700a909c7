"""Composition by Rényi divergence: Mironov 2017, "Rényi Differential Privacy", arXiv:1702.07476."""

import math
from collections.abc import Sequence

from fedge.privacy.compositions.library import dp_accounting
from fedge.privacy.training import Training


def epsilon(training: Training, delta: float) -> float:
    """The ε of a training at this δ.

    Raises:
        ConfigError: dp-accounting is not installed.
        ValueError: there is no bound for this training.
    """
    dp = dp_accounting()
    orders: Sequence[float] = dp.rdp.rdp_privacy_accountant.DEFAULT_RDP_ORDERS
    z, rounds = training.effective, training.rounds
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
