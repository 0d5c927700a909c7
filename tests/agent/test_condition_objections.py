"""When a device takes up work: each condition, measured and not."""

from typing import Any

import pytest

from agent.core.conditions import PASSING, Readings, objections
from agent.settings.conditions import ConditionsSettings
from fedge.wire.reasons import Reason

NIGHT = {"hours": "22:00-06:00"}

KEPT: dict[str, tuple[dict[str, Any], Readings]] = {
    "no conditions": ({}, Readings(battery="BAT0", temperature_c=99.0, load=9.0)),
    "within hours": (NIGHT, Readings(minute=23 * 60)),
    "mains": ({"mains": True}, Readings(battery=None)),
    "cool": ({"temperature_c": 60}, Readings(temperature_c=59.9)),
    "at the load": ({"load": 0.5}, Readings(load=0.5)),
}
BROKEN: dict[str, tuple[dict[str, Any], Readings, Reason, str]] = {
    "outside hours": (
        NIGHT,
        Readings(minute=6 * 60),
        Reason.OUTSIDE_HOURS,
        "[conditions] hours is 22:00-06:00",
    ),
    "no time": (
        NIGHT,
        Readings(minute=None),
        Reason.CLOCK_NOT_SYNCHRONISED,
        "[conditions] hours is 22:00-06:00",
    ),
    "battery": (
        {"mains": True},
        Readings(battery="BAT0"),
        Reason.ON_BATTERY,
        "[conditions] mains is set",
    ),
    "hot": (
        {"temperature_c": 60},
        Readings(temperature_c=60.0),
        Reason.TOO_HOT,
        "[conditions] temperature_c is 60",
    ),
    "no thermometer": (
        {"temperature_c": 60},
        Readings(),
        Reason.CANNOT_MEASURE,
        "[conditions] temperature_c is 60",
    ),
    "busy": (
        {"load": 0.5},
        Readings(load=0.51),
        Reason.TOO_BUSY,
        "[conditions] load is 0.5",
    ),
    "no load": (
        {"load": 0.5},
        Readings(),
        Reason.CANNOT_MEASURE,
        "[conditions] load is 0.5",
    ),
}


@pytest.mark.parametrize(("settings", "readings"), KEPT.values(), ids=KEPT.keys())
def test_nothing_speaks_against_work(settings: dict[str, Any], readings: Readings) -> None:
    assert not list(objections(ConditionsSettings.model_validate(settings), readings))


@pytest.mark.parametrize(("settings", "readings", "reason", "key"), BROKEN.values(), ids=BROKEN.keys())
def test_what_speaks_against_work(
    settings: dict[str, Any], readings: Readings, reason: Reason, key: str
) -> None:
    (objection,) = objections(ConditionsSettings.model_validate(settings), readings)
    assert objection.reason is reason
    assert objection.detail.endswith(key), "which setting it is, and what it says"
    assert objection.reason in PASSING


def test_all_that_speaks_against_work_is_told() -> None:
    everything = ConditionsSettings.model_validate({**NIGHT, "mains": True, "temperature_c": 60, "load": 1})
    readings = Readings(minute=720, battery="BAT1", temperature_c=70.0, load=3.0)
    assert [objection.reason for objection in objections(everything, readings)] == [
        Reason.OUTSIDE_HOURS,
        Reason.ON_BATTERY,
        Reason.TOO_HOT,
        Reason.TOO_BUSY,
    ]
