"""The times of rows, for their order: ISO 8601, or a count of seconds, milliseconds, and so on."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from agent.sources.buffers import Buffer

UNITS = ((1e11, 1.0), (1e14, 1e-3), (1e17, 1e-6), (np.inf, 1e-9))
"""Counts since 1970 below each bound are seconds, milliseconds, microseconds, nanoseconds."""
AHEAD_S = 86_400.0
"""How far a row's time may be ahead of the device's clock, in seconds. This allows for time zones, and for
clocks that differ a little."""


Last = tuple[float, bool]
"""The time of a row, and whether it is a date."""
NONE_YET: Last = (float("nan"), False)


class Times:
    """The times of rows, collected block by block. A row without a time has that of the row before it.

    Args:
        last: the time of the row before the first one.
    """

    def __init__(self, last: Last = NONE_YET) -> None:
        self.leans = False
        """Whether the first row has the time of the one before it."""
        self._counts = Buffer(np.float64)
        self._dates = Buffer(np.bool_)
        self._unknown = Buffer(np.bool_)
        self.last = last
        self._began = False
        self.low, self.high = np.full(2, np.inf), np.full(2, -np.inf)
        """Shape (2,): the first and the last time so far, for counts and for dates, dropped rows included."""

    @property
    def counts(self) -> NDArray[np.float64]:
        """Shape (n,): counts of an unknown unit, or seconds since 1970 where `dates` is True; NaN in rows
        before the first time."""
        return self._counts.array

    @property
    def dates(self) -> NDArray[np.bool_]:
        """Shape (n,): whether the time is a date, not a count."""
        return self._dates.array

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Shape (n,): rows whose own time cannot be read."""
        return self._unknown.array

    def take(self, cells: Sequence[str]) -> None:
        """Append rows. A cell is a number or a text in ISO 8601; any other text is not a time."""
        try:
            counts = np.array([float(cell) for cell in cells])
            dates = np.zeros(len(cells), dtype=np.bool_)
        except ValueError:
            found = [_time(cell.strip()) for cell in cells]
            counts = np.array([value for value, _ in found])
            dates = np.array([date for _, date in found])
        unknown = np.isnan(counts)
        for kind, of_kind in enumerate((~dates & ~unknown, dates & ~unknown)):
            if of_kind.any():
                self.low[kind] = min(self.low[kind], counts[of_kind].min())
                self.high[kind] = max(self.high[kind], counts[of_kind].max())
        if unknown.any():
            before = np.maximum.accumulate(np.where(unknown, -1, np.arange(len(counts))))
            counts = np.where(before < 0, self.last[0], counts[before])
            dates = np.where(before < 0, self.last[1], dates[before])
        if len(counts):
            self.leans = self.leans or (not self._began and bool(unknown[0]))
            self._began = True
            self.last = self.last if unknown.all() else (float(counts[-1]), bool(dates[-1]))
        self._counts.take(counts)
        self._dates.take(dates)
        self._unknown.take(unknown)

    def keep(self, rows: NDArray[np.intp]) -> None:
        """Drop all rows but these."""
        for buffer in (self._counts, self._dates, self._unknown):
            buffer.keep(rows)

    @property
    def span(self) -> tuple[float, float] | None:
        """The first and the last time so far, in seconds since 1970; None: there was none."""
        if np.isinf(self.high).all():
            return None
        scale = np.array([_unit(max(abs(self.low[0]), abs(self.high[0]))), 1.0])
        known = ~np.isinf(self.high)
        return float((self.low * scale)[known].min()), float((self.high * scale)[known].max())


def seconds(times: Sequence[Times]) -> NDArray[np.float64]:
    """Return the times of all rows in seconds since 1970, shape (n,); NaN where there is none.

    The unit of counts is the one that gives a date before the year 5138 for the largest of them. If they
    count from another moment, the order is still right. A date without a zone is taken as UTC. Seconds are
    float64: times that differ by less than 0.3 µs may be equal.
    """
    counts = np.concatenate([each.counts for each in times])
    dates = np.concatenate([each.dates for each in times])
    numbers = np.abs(counts[~dates & ~np.isnan(counts)])
    unit = _unit(float(numbers.max()) if len(numbers) else 0.0)
    return np.where(dates, counts, counts * unit)


def ahead(times: NDArray[np.float64], now_s: float) -> NDArray[np.bool_]:
    """Return which times are in the future: more than a day ahead of the device's clock.

    Args:
        times: shape (n,), seconds since 1970, NaN where there is none.
        now_s: the time by the device's clock.
    """
    return np.asarray(times > now_s + AHEAD_S)


def written(second: float) -> str:
    """Format a time in seconds since 1970 for people.

    >>> written(4_070_908_800.0)
    '2099-01-01 00:00:00 UTC'
    """
    try:
        return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):  # beyond the year 9999
        return f"{second:.10g} s since 1970"


def _unit(largest: float) -> float:
    return next(unit for bound, unit in UNITS if largest < bound or bound == np.inf)


def _time(cell: str) -> tuple[float, bool]:
    """Parse a time; return it, NaN if it is none, and whether it is a date."""
    try:
        return float(cell), False
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(cell)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp(), True
    except (ValueError, OverflowError):
        return float("nan"), False


def settled(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the times, shape (n,). A row without a time gets the last one before it, or −∞."""
    last = np.maximum.accumulate(np.where(np.isnan(times), 0, np.arange(len(times))))
    known = np.where(np.isnan(times), -np.inf, times)
    return np.asarray(known[last])


def order(times: NDArray[np.float64]) -> NDArray[np.intp] | None:
    """Return the order of the rows by time, shape (n,); None: they are in order.

    Rows with equal times keep their order. A row whose time cannot be read follows the row before it.
    """
    filled = settled(times)
    if (filled[1:] >= filled[:-1]).all():
        return None
    return np.argsort(filled, kind="stable")
