"""`[plan]` of `federation.toml`."""

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import CODECS, LOCAL, Registry
from fedge.service.settings import number_of


class PlanSection(Plan):
    """`[plan]`: what a chosen device does in a round (see `fedge.algorithms.plan`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    PARTS: ClassVar[dict[str, Registry[Any]]] = {"codec_options": CODECS, "local_options": LOCAL}
    """The registries of the parts that may be named, by the key of their options."""

    # `[personal]` sets these: a key of that name in `[plan]` is unknown.
    personal: ClassVar[None] = None  # type: ignore[misc]
    personal_options: ClassVar[None] = None  # type: ignore[misc]
    compare: ClassVar[None] = None  # type: ignore[misc]

    rate_decay: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    """The factor of the learning rate from round to round: round r of a generation is announced with
    `learning_rate` · `rate_decay`^(r-1), but never less than `rate_floor` says. It is not sent, so each
    device can do it."""
    rate_floor: float = Field(default=1e-3, ge=0, le=1, allow_inf_nan=False)
    """The part of `learning_rate` at which `rate_decay` ends. With 0 the rate falls to 1e-12, where float32
    weights no longer move."""

    _numbers = field_validator("*", mode="before")(number_of)

    @model_validator(mode="after")
    def _known(self) -> Self:
        CODECS.make(self.codec, self.codec_options)
        LOCAL.make(self.local_name, self.local_options)
        return self

    def first(self) -> Plan:
        """The plan of the first round, as it is announced."""
        return Plan(**self.model_dump(exclude={"rate_decay", "rate_floor"}))
