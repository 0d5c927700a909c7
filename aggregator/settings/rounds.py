"""`[rounds]` of `federation.toml`."""

from typing import Self

from pydantic import Field, field_validator, model_validator

from aggregator.schedules.schedule import SCHEDULES
from fedge.service.settings import Section, number_of

BUFFERED = "buffered"
"""The schedule that admits updates from older models."""
MAX_STALENESS = 10
"""The default of `max_staleness`."""


class RoundsSection(Section):
    """`[rounds]`: who takes part, and when a round closes."""

    fraction: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    """C: the share of the fleet that is chosen for each round."""
    target: int | None = Field(default=None, ge=1)
    """The round closes as soon as this many updates are admitted; default: when all devices online have
    answered."""
    quorum: int | float = 2
    """The fewest updates with which a round closes: below it, the round stays open at its deadline, and more
    devices are chosen. A fraction such as 0.5 is a share of the devices in `[federation] devices` or, without
    a list, of those online when the deadline starts."""
    deadline_s: float = Field(default=300.0, gt=0, le=30 * 86_400, allow_inf_nan=False)
    """How long a round waits for devices, in seconds; time without a connection to the broker does not
    count."""
    max_norm: float = Field(default=100.0, ge=0, le=1e9, allow_inf_nan=False)
    """The largest distance of an update from the model, as a multiple of the longest median distance of the
    closed rounds; an update beyond it is refused. 0: no bound."""
    clip_norm: float = Field(default=2.5, ge=0, le=1e9, allow_inf_nan=False)
    """The largest influence of one update, as a multiple of the round's medians: it bounds the distance, and
    n_k times the distance, in rounds of at least five updates; 0: no bound."""
    max_weight: float = Field(default=10.0, ge=0, le=1e9, allow_inf_nan=False)
    """The largest n_k that counts, as a multiple of the round's median n_k; 0: no bound."""

    schedule: str = "rounds"
    """When rounds open and close: the name of a file in `aggregator/schedules`."""
    max_staleness: int | None = Field(default=None, ge=1, le=1_000)
    """With schedule `buffered`: how many versions back the base of an update may be; an older update is
    refused. Default: 10."""
    max_per_device: int | None = Field(default=None, ge=1)
    """With schedule `buffered`: how many updates of one device count in a version. Default: 1, which is the
    only value that works (docs/adr/0025-buffered-rounds.md)."""

    @field_validator("schedule")
    @classmethod
    def _known(cls, schedule: str) -> str:
        if schedule not in (names := SCHEDULES.names()):
            raise ValueError(f"unknown schedule {schedule!r}; known: {', '.join(names)}")
        return schedule

    @field_validator("quorum", mode="before")
    @classmethod
    def _number_or_share(cls, quorum: object) -> object:
        quorum = number_of(quorum)
        if isinstance(quorum, float) and quorum > 1 and quorum.is_integer():
            quorum = int(quorum)
        is_number = isinstance(quorum, int) and not isinstance(quorum, bool) and quorum >= 1
        if not is_number and not (isinstance(quorum, float) and 0 < quorum <= 1):
            raise ValueError(
                "expected a number of updates, 1 or more, or a share of the devices, above 0 and up to 1.0, "
                f"got {quorum!r}"
            )
        return quorum

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("max_norm", "clip_norm", "max_weight"):
            if 0 < (factor := getattr(self, name)) < 1:
                raise ValueError(
                    f"{name}: must be 0 (no bound) or a multiple of the median of at least 1, got {factor:g}"
                )
        if isinstance(self.quorum, float):
            if self.quorum > self.fraction:
                raise ValueError(
                    f"quorum: a share of {self.quorum:g} of the devices cannot answer if only a fraction of "
                    f"{self.fraction:g} is chosen; set it to at most {self.fraction:g}"
                )
        elif self.target is not None and self.target < self.quorum:
            raise ValueError(f"target: must be at least the quorum of {self.quorum}, got {self.target}")
        return self

    @model_validator(mode="after")
    def _fits_the_schedule(self) -> Self:
        if self.schedule != BUFFERED:
            for key, why in (
                ("max_staleness", "the newest model is the base of each update"),
                ("max_per_device", "a device has one update in a round"),
            ):
                if getattr(self, key) is not None:
                    raise ValueError(
                        f'{key}: has no meaning with schedule = "{self.schedule}", because {why}; leave it '
                        f'out, or set schedule = "{BUFFERED}"'
                    )
            return self
        if self.max_per_device not in (None, 1):
            raise ValueError(
                f"max_per_device: must be 1, got {self.max_per_device}: two of one device in a "
                "version make versions no faster, and give one device more weight; leave it out, and set a "
                "larger target if fast devices weigh too much"
            )
        if self.target is None:
            raise ValueError(
                f'target: schedule = "{BUFFERED}" needs it: the number of updates that make a version; set '
                'for example a tenth of the devices, or set schedule = "rounds"'
            )
        if self.fraction < 1:
            raise ValueError(
                f'fraction: with schedule = "{BUFFERED}" every device takes part, got {self.fraction:g}; '
                'leave it out, or set schedule = "rounds"'
            )
        return self

    @property
    def staleness(self) -> int | None:
        """How many versions back the base of an update may be; None: only the newest model counts."""
        if self.schedule != BUFFERED:
            return None
        return MAX_STALENESS if self.max_staleness is None else self.max_staleness
