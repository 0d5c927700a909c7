"""Hours of the day."""

import pytest

from agent.core.hours import Hours, read_hours
from tests.wording import telling


def test_hours_of_one_day() -> None:
    hours = read_hours("09:30 - 17:00")
    assert hours == Hours(570, 1020)
    assert [minute in hours for minute in (569, 570, 1019, 1020)] == [False, True, True, False]


def test_hours_over_midnight() -> None:
    hours = read_hours("22:00-06:15")
    inside = {minute for minute in range(1440) if minute in hours}
    assert inside == {*range(1320, 1440), *range(375)}
    assert str(hours) == "22:00-06:15"
    until_midnight = read_hours("22:00-00:00")
    assert [minute in until_midnight for minute in (1319, 1320, 1439, 0)] == [False, True, True, False]


@pytest.mark.parametrize(
    "text", ["", "22-6", "22:00", "24:00-06:00", "22:60-06:00", "9:00-17:00", "22:00-06:00h", 22]
)
def test_what_is_no_hours(text: object) -> None:
    with pytest.raises(ValueError, match=telling('"22:00-06:00"')):
        read_hours(text)


def test_no_hours_at_all() -> None:
    with pytest.raises(ValueError, match="08:00"):
        read_hours("08:00-08:00")
