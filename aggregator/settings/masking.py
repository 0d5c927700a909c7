"""`[masking]` of `federation.toml`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from aggregator.settings.columns import Column
from fedge.masking.messages import LEAST_DEVICES, MAX_DEVICES, MAX_WEIGHT
from fedge.masking.ring import Ring
from fedge.service.settings import Section

LYING_SHARE, CURIOUS_SHARE = 2 / 3 - 1e-3, 0.5
"""The least `threshold`; .667 and .666 are meant as two thirds, and devices accept no fewer than those."""


class MaskingSection(Section):
    """`[masking]`: secure aggregation, with which nobody sees the update of a single device."""

    on: bool = False
    """Whether rounds of training are masked. Devices need a certificate and the extra `secure`."""
    clip: float | None = Field(default=None, gt=0, le=1e9, allow_inf_nan=False)
    """The largest change of a weight in an update. What is beyond it is cut off, and no update moves a weight
    of the model further. Needed if masking is on; with distributed noise it follows from `[privacy]`."""
    value_bits: int = Field(default=8, ge=2, le=16)
    """The bits of one value of an update, with its sign."""
    max_weight: int = Field(default=1, ge=1, le=MAX_WEIGHT)
    """The largest n_k that counts, as a whole number; 1: all updates count the same."""
    cohort: int = Field(default=LEAST_DEVICES, ge=LEAST_DEVICES, le=MAX_DEVICES)
    """The fewest devices that are aggregated together; with groups, in each group."""
    groups: int = Field(default=1, ge=1, le=MAX_DEVICES // LEAST_DEVICES)
    """Into how many random groups a cohort is divided. The aggregator learns a sum of each, and `[rule]` is
    applied to their means, so that it can leave out groups with liars. 1: one sum, and no such rule."""
    threshold: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    """The least part of a cohort that has to answer each phase; rounded up to whole devices. More protects
    against more colluders, and bears fewer losses. At least 2/3, or more than 1/2 with `honest-but-curious`;
    default: as few as devices accept."""
    server: Literal["lying", "honest-but-curious"] = "lying"
    """What this program may be without learning an update. Devices accept `honest-but-curious` only if their
    owner does."""
    colluders: int | None = Field(default=None, ge=0, le=MAX_DEVICES)
    """With more than 64 devices: how many of them may help this program to learn an update; default: a
    tenth. With distributed noise, of any number of devices: their shares of it do not count; default: a tenth
    of `[privacy] cohort`."""
    dropouts: int | None = Field(default=None, ge=0, le=MAX_DEVICES)
    """With more than 64 devices: how many of them may be lost; default: a tenth."""
    columns: dict[str, Column] | None = None
    """Mean and spread of each column in `[model] features` and `targets`, from elsewhere than the devices'
    rows. Then there is no survey, and devices that require masks take part from the first round on. Each as
    `name = [mean, spread]`."""
    phase_s: float = Field(default=30.0, ge=1, le=86_400, allow_inf_nan=False)
    """How long each of the five phases waits for devices, in seconds with a connection."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        least = LYING_SHARE if self.server == "lying" else CURIOUS_SHARE
        if self.threshold is not None and self.threshold < least:
            raise ValueError(
                f"threshold: {self.threshold:g} is less than the {least:.3g} that devices accept from a "
                f'server that is "{self.server}": two sums with different devices could be found, and their '
                "difference tells a single update; set more, or leave it out"
            )
        if self.columns is not None and not self.on:
            raise ValueError("columns: they replace the survey of masked rounds only: set on = true")
        Ring(self.value_bits, MAX_DEVICES, self.max_weight)  # raises a ValueError if no word is wide enough
        return self
