"""Survey poisoning: an attacker tells wrong means and spreads of its columns before training begins.

The survey's moments become the layer that standardizes all inputs, so a wrong one harms every device for the
whole generation. No paper known to us tries this; the simplest lie is a mean far away, and a large spread.
"""

import numpy as np
from pydantic import Field

from fedge.algorithms.registry import Entry, Options
from fedge.data.moments import Moments
from fleet.simulator.attacks.attack import Attack


class SurveyPoisoningOptions(Options):
    """Options of survey poisoning."""

    shift: float = Field(default=1_000.0, allow_inf_nan=False)
    """How far a mean is moved, in the column's own spreads."""
    stretch: float = Field(default=1_000.0, gt=0, le=1e100, allow_inf_nan=False)
    """What a spread is multiplied by."""


class SurveyPoisoning(Attack):
    """An attacker tells means that are moved and spreads that are stretched; its updates are honest."""

    def __init__(self, options: SurveyPoisoningOptions) -> None:
        self._shift, self._stretch = options.shift, options.stretch

    def survey(self, moments: Moments) -> Moments:
        """As the class says."""
        spread = np.sqrt(moments.m2 / np.maximum(moments.count, 1))
        return Moments(moments.count, moments.mean + self._shift * spread, self._stretch**2 * moments.m2)


ENTRY = Entry("attack", "survey-poisoning", SurveyPoisoning, SurveyPoisoningOptions)
