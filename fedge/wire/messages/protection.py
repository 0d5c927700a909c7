"""What a round promises about each device's part in it: noise, masks, and the least number of updates.

A manifest carries it, so it is as trustworthy as the manifest. A device's owner can require it
(`agent.core.protection`). Names are open, because later programs may add some; a device that does not know a
name does not count it as protection.
"""

from typing import Annotated

from pydantic import Field

from fedge.wire.messages.fields import Counter
from fedge.wire.messages.message import Part
from fedge.wire.names import WireName

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
HexDigest = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{64})?$")]


class Charges(Part):
    """What has been released of a budget, as `fedge.privacy.budget.Witness` tells it."""

    number: Counter
    """How many releases have been charged; 0: none."""
    digest: HexDigest = ""
    """Of the newest charge, in hexadecimal; empty with 0."""


class NoiseShares(Part):
    """Distributed noise: how devices share it (`fedge.masking.noise`)."""

    devices: Annotated[int, Field(ge=1, le=2**31)]
    """m: the fewest shares of a sum that the server cannot know; each is a part of 1/m of the noise."""
    size: Annotated[int, Field(ge=1, le=2**53)]
    """p, the entries of an update."""
    grid_bits: Annotated[int, Field(ge=1, le=64)]
    """b: the clip has 2^b steps."""


class Privacy(Part):
    """Differential privacy of each device, over a whole training."""

    mechanism: WireName
    """Who adds the noise: `central` (the server), `distributed` (the devices, in shares that only their sum
    reveals), `local` (each device alone), or `tree` (the server, in sums of rounds)."""
    epsilon: Positive
    """ε of all rounds together."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """δ, the probability that the bound does not hold."""
    unit: WireName
    """What is protected: `device`, all rows of one."""
    adjacency: WireName
    """How two neighbouring federations differ: `add-remove` or `replace-one` (`fedge.privacy.accountant`)."""
    clip: Positive
    """S, the length that a device's change is shortened to; with a quantile, that of the first round."""
    noise_multiplier: Positive
    """z: the noise of a round, as a multiple of what one device can change."""
    cohort: Annotated[int, Field(ge=1, le=2**31)]
    """m, the most devices of a round, by which the sum is divided."""
    rounds: Annotated[int, Field(ge=1, le=10**6)]
    """T, the most rounds that are released."""
    shares: NoiseShares | None = None
    """Of `distributed` noise; None: it is of another kind."""
    distance: Annotated[int, Field(ge=1, le=10**6)] | None = None
    """Of a `tree`, d: a device that took part takes part again d releases later at the earliest."""
    witness: Charges = Charges(number=0)
    """What had been released when this was announced."""


class Masks(Part):
    """Secure aggregation: the server learns the sum of a cohort's updates, and no single one."""

    server: WireName
    """Which server it holds against: `lying`, or `honest-but-curious`."""
    threshold: Annotated[int, Field(ge=1, le=2**31)]
    """t, the fewest devices with which a sum is unmasked."""
    cohort: Annotated[int, Field(ge=1, le=2**31)]
    """n, the fewest devices that masks are agreed among."""
    value_bits: Annotated[int, Field(ge=1, le=64)]
    """The bits of one device's value."""
    clip: Positive | None = None
    """The largest change of a weight before it is rounded; None: not announced."""
    max_weight: Annotated[int, Field(ge=1, le=2**53)] | None = None
    """The largest weight of an update; None: each counts the same."""
    groups: Annotated[int, Field(ge=2, le=2**31)] | None = None
    """G, the groups of which the server learns a sum each; n and t are of each group then. None: there are
    none."""


class Protection(Part):
    """What a round promises; what is None is not promised."""

    privacy: Privacy | None = None
    masked: Masks | None = None
    devices: Annotated[int, Field(ge=1, le=2**31)] = 1
    """The least number of updates of which anything is released."""
