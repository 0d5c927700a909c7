"""When rows were measured, for their order: ISO 8601, or a count of seconds or parts of it."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

UNITS = ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6), (np.inf, 1e-9))
"""Counts since 1970 below each bound are seconds, milliseconds, microseconds, nanoseconds."""


class Times:
    """The times of rows, taken block by block."""

    def __init__(self) -> None:
        self.counts: list[NDArray[np.float64]] = []
        """Counts of an unknown unit, and NaN; or seconds since 1970 where `dates` is True."""
        self.dates: list[NDArray[np.bool_]] = []

    def take(self, cells: Sequence[str]) -> None:
        """More rows: numbers, or texts as in ISO 8601; another text is no time."""
        try:
            counts = np.array([float(cell) for cell in cells])
            dates = np.zeros(len(cells), dtype=np.bool_)
        except ValueError:
            found = [_time(cell.strip()) for cell in cells]
            counts = np.array([value for value, _ in found])
            dates = np.array([date for _, date in found])
        self.counts.append(counts)
        self.dates.append(dates)


def seconds(times: Sequence[Times]) -> NDArray[np.float64]:
    """The times of all rows in seconds since 1970, of shape (n,); NaN where there is none.

    A count is of the unit that gives a date before the year 5138 for the largest of them; where it counts
    from another moment the order is the same. A date without a zone is taken as UTC. Seconds are float64:
    times that differ by less than 0.3 µs may be equal.
    """
    counts = np.concatenate([part for each in times for part in each.counts])
    dates = np.concatenate([part for each in times for part in each.dates])
    numbers = np.abs(counts[~dates & ~np.isnan(counts)])
    largest = float(numbers.max()) if len(numbers) else 0.0
    unit = next(unit for bound, unit in UNITS if largest < bound or bound == np.inf)
    return np.where(dates, counts, counts * unit)


def _time(cell: str) -> tuple[float, bool]:
    """A time, and whether it is a date."""
    try:
        return float(cell), False
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(cell)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp(), True
    except (ValueError, OverflowError):
        return float("nan"), False


def order(times: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """The rows in the order of time, equal ones as they stand; None: they are.

    A row whose time cannot be read stays behind the row before it.
    """
    known = np.where(np.isnan(times), -np.inf, times)
    last = np.maximum.accumulate(np.where(np.isnan(times), 0, np.arange(len(times))))
    filled = np.where(np.isnan(times), known[last], known)
    if (filled[1:] >= filled[:-1]).all():
        return None
    return np.argsort(filled, kind="stable")
