"""`[plan]` of `federation.toml`."""

from typing import Any, ClassVar, Self

from pydantic import ConfigDict, field_validator, model_validator

from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import CODECS, LOCAL, Registry
from fedge.service.settings import number_of


class PlanSection(Plan):
    """`[plan]`: what a chosen device does in a round (see `fedge.algorithms.plan`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)

    PARTS: ClassVar[dict[str, Registry[Any]]] = {"codec_options": CODECS, "local_options": LOCAL}
    """The registries of the parts that may be named, by the key of their options."""

    _numbers = field_validator("*", mode="before")(number_of)

    @model_validator(mode="after")
    def _known(self) -> Self:
        CODECS.make(self.codec, self.codec_options)
        LOCAL.make(self.local_name, self.local_options)
        return self
