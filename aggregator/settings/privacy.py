"""`[privacy]` of `federation.toml`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from aggregator.core.parts import Part
from aggregator.settings.columns import Column
from fedge.algorithms.registry import RULES, register
from fedge.algorithms.rules.private_mean import PRIVATE_MEAN
from fedge.masking.noise import NoisyLevels
from fedge.privacy.accountant import Training
from fedge.privacy.charges import Declared
from fedge.service.settings import Section

NAME = PRIVATE_MEAN.name
"""The rule that `[privacy]` chooses."""


class PrivacySection(Section):
    """`[privacy]`: differential privacy of each device. Without this table there is none. What it says never
    changes for a federation: devices were told."""

    mechanism: Literal["central", "distributed"] = "central"
    """Who adds the noise: central, the aggregator, which sees each update; distributed, the devices in
    shares, which only masked sums reveal, so that it protects from the aggregator too. Needs `[masking]`."""
    epsilon: float = Field(gt=0, allow_inf_nan=False)
    """The largest ε of all rounds together. The noise must be enough for it: `fedge privacy plan` says how
    much that is."""
    delta: float = Field(default=1e-5, gt=0, lt=1)
    """δ: the probability that the bound does not hold; much smaller than 1 by the number of devices."""
    noise_multiplier: float = Field(gt=0, le=1000)
    """z: the noise of a round, as a multiple of what one device can change."""
    rounds: int = Field(ge=1, le=10**6)
    """The most training rounds, over all generations; learning ends after them."""
    cohort: int = Field(ge=1, le=2**31)
    """m: the most devices of a round, and the number that their sum is divided by. A round closes when so
    many updates are admitted, or with `[rounds] target` of them."""
    clip: float = Field(gt=0, le=1e9)
    """The length that a device's change of the weights is shortened to; with a quantile, that of the first
    round."""
    quantile: float | None = Field(default=None, ge=0.01, le=0.99)
    """The clip follows this quantile of the lengths, under noise that is counted; default: it stays."""
    columns: dict[str, Column]
    """Mean and spread of each column in `[model] features` and `targets`, from elsewhere than the devices'
    rows: there is no survey. Each as `name = [mean, spread]`."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.mechanism != "central" and self.quantile is not None:
            raise ValueError(
                f'quantile: with mechanism = "{self.mechanism}" the clip is fixed, because devices need it '
                "before they send: leave it out"
            )
        self.part()
        return self

    def part(self) -> Part:
        """The rule with its options.

        Raises:
            ValueError: the options do not go together.
        """
        given = {
            "clip": self.clip,
            "noise_multiplier": self.noise_multiplier,
            "cohort": self.cohort,
            "quantile": self.quantile,
        }
        register(PRIVATE_MEAN)
        return Part.of(RULES, NAME, given)

    def declared(self, levels: NoisyLevels | None = None) -> Declared:
        """What devices are told, and what the budget holds the aggregator to.

        Args:
            levels: of distributed noise; None: it is of another kind.
        """
        training = Training(self.noise_multiplier, self.rounds) if levels is None else levels.training()
        return Declared(self.epsilon, self.delta, training, self.clip, self.cohort, self.mechanism)
