"""What privacy will cost a federation: the noise for a wanted ε, beside what the mean of its devices can say.

For a clip S, p weights and m devices, in units of the weights (`fedge.privacy.mechanism`):

* each weight of the mean has noise with the standard deviation z Δ g / m, where Δ g = S (1 + √p / 2^(b+1))
  is what one device can change; over all p weights the noise has a length of about √p times that;
* the mean change has a length of at most S, where all devices agree, and of S / √m where what they say has
  nothing in common.
"""

import math
from dataclasses import dataclass

from fedge.privacy.accountant import Shares, Training, multiplier_for
from fedge.privacy.mechanism import Grid


@dataclass(frozen=True)
class Wanted:
    """What is planned."""

    epsilon: float = 4.0
    delta: float = 1e-5
    rounds: int = 200
    devices: int = 10_000
    """m, the cohort: those that take part in a round."""
    weights: int = 10_000
    """p."""
    clip: float = 1.0
    """S."""
    missing: float = 0.2
    """Of distributed noise: the share of devices that drop out, or work together with the server."""


@dataclass(frozen=True)
class Noise:
    """The noise of one way to add it."""

    multiplier: float
    """z: the standard deviation of the noise in the sum, over what one device can change. For local noise: of
    each device's own."""
    per_weight: float
    """The standard deviation of the noise in a weight of the mean."""
    length: float
    """√p times that."""


@dataclass(frozen=True)
class Forecast:
    """The noise of each way, and the signal."""

    wanted: Wanted
    central: Noise
    """One program adds it, which sees each update."""
    distributed: Noise
    """Each device adds a share, and masks hide the shares; if all come, it is more than is needed."""
    local: Noise
    """Each device hides its update alone, from everybody."""
    agreed: float
    """The most length of the mean change: all devices agree."""
    unlike: float
    """Its length where the devices' changes have nothing in common."""


def forecast(wanted: Wanted) -> Forecast:
    """Find the least noise for each way to add it.

    Raises:
        ConfigError: dp-accounting is not installed.
        ValueError: a number is out of range, or no noise is enough; the text says which.
    """
    grid, m = Grid(wanted.clip, wanted.weights), wanted.devices
    if m < 1 or not 0 <= wanted.missing < 1:
        raise ValueError(
            f"{m} devices with a share of {wanted.missing} missing: expected 1 or more, and 0 to 1"
        )
    honest = max(1, math.floor(m * (1 - wanted.missing)))
    shares = Shares(honest, wanted.weights, grid.sensitivity)
    everyone = Training(1.0, wanted.rounds)
    one = Training(1.0, wanted.rounds, adjacency="replace-one")

    def noise(training: Training, factor: float) -> Noise:
        z = multiplier_for(wanted.epsilon, training, wanted.delta)
        per_weight = z * factor * grid.sensitivity * grid.step / m
        return Noise(z, per_weight, per_weight * math.sqrt(wanted.weights))

    return Forecast(
        wanted,
        noise(everyone, 1.0),
        noise(Training(1.0, wanted.rounds, shares=shares), math.sqrt(m / honest)),
        noise(one, math.sqrt(m)),
        wanted.clip,
        wanted.clip / math.sqrt(m),
    )
