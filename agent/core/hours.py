"""Hours of the day in the settings: `22:00-06:00`."""

import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)\s*-\s*([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True)
class Hours:
    """Minutes of the day (0 to 1439) from `begin` until before `end`, over midnight if `end` is earlier."""

    begin: int
    end: int

    def __contains__(self, minute: int) -> bool:
        if self.begin < self.end:
            return self.begin <= minute < self.end
        return minute >= self.begin or minute < self.end

    def __str__(self) -> str:
        return f"{clock(self.begin)}-{clock(self.end)}"


def clock(minute: int) -> str:
    """Format a minute of the day as a clock shows it.

    >>> clock(365)
    '06:05'
    """
    return f"{minute // 60:02}:{minute % 60:02}"


def read_hours(text: object) -> Hours:
    """Parse hours, as in `22:00-06:00`.

    Raises:
        ValueError: the text is invalid; the error says how to write hours.
    """
    written = _WRITTEN.fullmatch(text.strip()) if isinstance(text, str) else None
    if written is None:
        raise ValueError('hours are written "22:00-06:00": from, until; 00:00 is midnight')
    begin_h, begin_min, end_h, end_min = map(int, written.groups())
    hours = Hours(60 * begin_h + begin_min, 60 * end_h + end_min)
    if hours.begin == hours.end:
        raise ValueError(
            f"the hours begin and end at {clock(hours.end)}; for the whole day, leave out the key"
        )
    return hours
