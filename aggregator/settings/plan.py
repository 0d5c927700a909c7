"""`[plan]` of `federation.toml`."""

from pydantic import ConfigDict, field_validator

from fedge.algorithms.codecs import CODECS
from fedge.algorithms.plan import Plan
from fedge.service.settings import number_of


class PlanSection(Plan):
    """`[plan]`: what a chosen device does in a round (see `fedge.algorithms.plan`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    _numbers = field_validator("*", mode="before")(number_of)

    @field_validator("codec")
    @classmethod
    def _known(cls, codec: str) -> str:
        if codec not in CODECS:
            raise ValueError(f"unknown value {codec!r}; accepted: {', '.join(CODECS)}")
        return codec
