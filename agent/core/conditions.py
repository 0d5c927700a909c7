"""Compares the owner's `[conditions]` with measurements, to decide whether this device accepts work. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.hours import clock
from agent.core.limits import Objection
from agent.settings.conditions import ConditionsSettings
from fedge.wire.reasons import Reason

PASSING = frozenset(
    {
        Reason.OUTSIDE_HOURS,
        Reason.CLOCK_NOT_SYNCHRONISED,
        Reason.ON_BATTERY,
        Reason.TOO_HOT,
        Reason.TOO_BUSY,
        Reason.OVER_BYTE_BUDGET,
        Reason.CANNOT_MEASURE,
    }
)
"""Reasons that may pass while a round is still open."""


@dataclass(frozen=True)
class Readings:
    """Measurements of a device; None: not needed, or not measurable."""

    minute: int | None = None
    """The minute of the day in the device's time zone; None while its clock is not synchronised."""
    battery: str | None = None
    """The name of a battery that is being discharged; None: there is none."""
    temperature_c: float | None = None
    """The temperature of the processor, in degrees Celsius."""
    load: float | None = None
    """The load average of the last minute, divided by the number of cores."""
    spent: int = 0
    """The bytes sent and received today."""


UNMEASURED = Readings()
"""The readings of a device whose owner sets no conditions."""


def objections(conditions: ConditionsSettings, readings: Readings) -> Iterator[Objection]:
    """Find all objections to accepting work now. A limit that cannot be checked counts as exceeded."""
    yield from _outside_hours(conditions, readings)
    if conditions.mains and readings.battery is not None:
        yield Objection(
            Reason.ON_BATTERY,
            "a battery is being discharged, [conditions] mains is set",
            f"it is {readings.battery}",  # the name may hold a serial number, so it is not sent
        )
    if conditions.temperature_c is not None:
        limit = f"[conditions] temperature_c is {conditions.temperature_c:g}"
        if readings.temperature_c is None:
            yield Objection(Reason.CANNOT_MEASURE, f"no temperature can be read here, {limit}")
        elif readings.temperature_c >= conditions.temperature_c:
            yield Objection(Reason.TOO_HOT, f"the processor is at {readings.temperature_c:.1f} °C, {limit}")
    if conditions.load is not None:
        limit = f"[conditions] load is {conditions.load:g}"
        if readings.load is None:
            yield Objection(Reason.CANNOT_MEASURE, f"no load average can be read here, {limit}")
        elif readings.load > conditions.load:
            yield Objection(Reason.TOO_BUSY, f"the load is {readings.load:.2f} per core, {limit}")


def _outside_hours(conditions: ConditionsSettings, readings: Readings) -> Iterator[Objection]:
    if conditions.hours is None:
        return
    limit = f"[conditions] hours is {conditions.hours}"
    if readings.minute is None:
        yield Objection(Reason.CLOCK_NOT_SYNCHRONISED, f"the clock is not synchronised, {limit}")
    elif readings.minute not in conditions.hours:
        yield Objection(Reason.OUTSIDE_HOURS, f"it is {clock(readings.minute)} here, {limit}")
