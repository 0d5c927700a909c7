"""Composition of privacy loss distributions (PLD): Koskela, Jälkö and Honkela 2020, arXiv:1906.03049."""

from fedge.privacy.compositions.library import dp_accounting
from fedge.privacy.training import Training

INTERVAL = 1e-4
"""The grid of privacy losses, dp-accounting's own; a coarser one is faster, and rounds ε up further."""


def epsilon(training: Training, delta: float) -> float:
    """The ε of a training at this δ.

    Raises:
        ConfigError: dp-accounting is not installed.
    """
    dp = dp_accounting()
    relations = dp.NeighboringRelation
    replaced = training.adjacency == "replace-one"
    # This event's noise is in what one device more or less changes, with either relation.
    event = dp.PoissonSampledDpEvent(training.rate, dp.GaussianDpEvent(training.multiplier))
    relation = relations.REPLACE_ONE if replaced else relations.ADD_OR_REMOVE_ONE
    accountant = dp.pld.PLDAccountant(relation, INTERVAL)
    accountant.compose(event, training.rounds)
    return float(accountant.get_epsilon(delta))
