"""`[conditions]` of `agent.toml`."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from agent.core.hours import Hours, read_hours
from fedge.service.settings import Section


def _hours(text: object) -> Any:
    return text if text is None or isinstance(text, Hours) else read_hours(text)


class ConditionsSettings(Section):
    """`[conditions]`: when this device accepts work. Otherwise it declines, and checks again every 30 s."""

    hours: Annotated[Hours | None, BeforeValidator(_hours)] = None
    """Work only within these hours of the device's own time zone; they may pass midnight: "22:00-06:00"."""
    mains: bool = False
    """Work only on mains power, not while a battery is discharging."""
    temperature_c: float | None = Field(default=None, gt=0, le=150, allow_inf_nan=False)
    """Work only below this processor temperature, in degrees Celsius."""
    load: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Work only while the load average of the last minute, divided by the number of cores, is at most
    this."""
