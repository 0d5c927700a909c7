"""Exact composition of normal noise: Balle and Wang 2018, arXiv:1805.06083, Theorem 8."""

import math

from fedge.privacy.compositions.library import dp_accounting
from fedge.privacy.training import Training


def epsilon(training: Training, delta: float) -> float:
    """The ε of a training at this δ.

    Raises:
        ConfigError: dp-accounting is not installed.
    """
    return float(dp_accounting().get_epsilon_gaussian(training.effective / math.sqrt(training.rounds), delta))
