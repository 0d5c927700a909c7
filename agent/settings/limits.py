"""`[limits]` of `agent.toml`."""

from pydantic import Field

from fedge.algorithms.plan import MAX_EPOCHS
from fedge.service.settings import Section


class LimitsSettings(Section):
    """`[limits]`: the most that a federation may ask of this device; a round that asks for more is
    declined."""

    epochs: int | None = Field(default=None, ge=1, le=MAX_EPOCHS)
    """The most epochs in a round."""
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The longest training in a round, in seconds; it ends then, or earlier if it is far too slow."""
    bytes_per_day: int | None = Field(default=None, ge=1)
    """The most bytes sent and received in a day, as MQTT topics and payloads."""
    sources: tuple[str, ...] | None = None
    """The names of the sources that may be used; `[data]` is called data. Without it: all."""
