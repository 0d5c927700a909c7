"""`[plan]` of `federation.toml`."""

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import CODECS, LOCAL, Registry
from fedge.service.settings import number_of
from fedge.wire.models import CHANGES, FLOAT32, WHOLE


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

    model_codec: str = FLOAT32
    """How the announced model is encoded: `float32`, as it is; `float16`; or `int8` or `int4`, the change
    since an earlier model that most devices have."""

    key_every: int = Field(default=16, ge=1, le=1_000)
    """With `int8` and `int4`: after how many rounds the model of the round before takes the place of that
    earlier model. A device that takes part in each round has it. Any other one fetches it, in float32."""

    _numbers = field_validator("*", mode="before")(number_of)

    @field_validator("model_codec")
    @classmethod
    def _for_models(cls, name: str) -> str:
        known = (FLOAT32, *WHOLE, *CHANGES)
        if name in CODECS.names() and name not in known:
            raise ValueError(
                f"{name} is for updates: a model that all devices read needs a codec without a state, whose "
                f"error is small beside the change; set one of {', '.join(known)}"
            )
        if name not in known:
            raise ValueError(f"there is no codec {name!r} for models; set one of {', '.join(known)}")
        return name

    @model_validator(mode="after")
    def _known(self) -> Self:
        CODECS.make(self.codec, self.codec_options)
        LOCAL.make(self.local_name, self.local_options)
        return self

    def first(self) -> Plan:
        """The plan of the first round, as it is announced."""
        return Plan(**self.model_dump(exclude={"rate_decay", "rate_floor", "model_codec", "key_every"}))
