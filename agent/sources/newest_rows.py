"""`[data] newest`: use only the newest rows, a number of rows or of days. Older rows are dropped while
reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from agent.sources import times
from agent.sources.columns import Columns
from agent.sources.dropped_rows import DroppedByAge
from fedge.data.disclosure import public
from fedge.errors import DataError

DAY_S = 86_400.0
SLACK = 1 << 16
"""Older rows are dropped when there are this many more than twice the rows that were kept before."""
FEW_AHEAD = 0.05
"""Up to this share of rows in the future, the device's clock is believed, and not theirs."""
FEW_SO_FAR = 0.5
"""The same while rows are read. It is larger because the share may become smaller at the end, and dropped
rows cannot come back."""
MOST_RECORDINGS = 50_000
"""How many recordings with dropped rows are remembered by name. They take about 20 MB."""
LONG_AGO_S = 1e8
"""Seconds from 1970 to 1973: a clock with a smaller value does not count from 1970."""


@dataclass(frozen=True)
class Newest:
    """The last `rows` rows in the order of the data, or the rows of the last `days` days."""

    rows: int | None = None
    days: int | None = None

    @classmethod
    def of(cls, newest: int | str | None) -> Self | None:
        """Parse the setting `[data] newest`: a number of rows, or `30 days`."""
        if newest is None:
            return None
        return cls(rows=newest) if isinstance(newest, int) else cls(days=int(newest.split()[0]))

    def chosen(self, filled: NDArray[np.float64], end_s: float) -> NDArray[np.bool_]:
        """Return which rows are the newest, shape (n,).

        Args:
            filled: shape (n,), the times of rows in seconds, −∞ where there is none. Rows with equal or
                unknown times keep their order.
            end_s: the moment from which days are counted back.
        """
        if self.days is not None:
            return np.asarray(filled >= end_s - self.days * DAY_S)
        wanted = np.zeros(len(filled), dtype=np.bool_)
        wanted[np.argsort(filled, kind="stable")[-(self.rows or 0) :]] = True
        return wanted


def days_end(
    found: NDArray[np.float64], now_s: float, gone: Sequence[DroppedByAge] = (), few: float = FEW_AHEAD
) -> float:
    """Return the moment from which days are counted back: the newest row's time, in seconds since 1970.

    A few rows with a time in the future, because a clock was wrong, must not make all other rows old. So
    these few are ignored. If there are more of them, the device's clock is probably the wrong one.

    Args:
        found: shape (n,), times in seconds since 1970; NaN or −∞ where there is none.
        now_s: the time by the device's clock.
        gone: the dropped rows of each table.
        few: the share of all rows up to which those in the future are "a few".
    """
    known = found[np.isfinite(found)]
    wrong = times.ahead(known, now_s)
    of = len(known) + sum(one.rows for one in gone)
    if wrong.sum() + sum(one.ahead for one in gone) <= few * of:
        known = known[~wrong]
    return float(known.max(initial=-np.inf))


class Thinning:
    """Drops older rows of tables from time to time, so that not many more than the wanted rows are held."""

    def __init__(self, newest: Newest | None, time: str | None, now_s: float) -> None:
        self._newest, self._time, self._now_s = newest, time, now_s
        self._limit = SLACK

    def now_and_then(self, tables: Sequence[Columns]) -> None:
        """Drop rows if there are many more than after the last call that dropped some.

        Dropped rows can never be among the newest again, because further rows only make them older. There is
        one exception: more than half of the rows so far are in the future, but only a few of all rows are.
        `finish` detects it.

        Raises:
            DataError: there are too many recordings.
        """
        if self._newest is None or sum(table.rows for table in tables) < self._limit:
            return
        self._thin(tables, self._newest)
        self._check_recordings(tables)
        self._limit = 2 * sum(table.rows for table in tables) + SLACK

    def finish(self, tables: Sequence[Columns]) -> bool:
        """Drop all rows that are not the newest.

        Returns:
            Whether rows that may be among the newest were dropped, in this read or an earlier one. This
            happens if times in the future were believed then, and are not believed now.

        Raises:
            DataError: days are wanted, but times do not count from 1970; or there are too many recordings.
        """
        if self._newest is None:
            return False
        if self._newest.days is not None and tables:
            found = times.seconds([table.times for table in tables])
            if len(found) and not np.isnan(found).all() and np.nanmax(found) < LONG_AGO_S:
                told = public("[data] newest is in days, but the times do not count from 1970")
                raise DataError(f"column {self._time!r}: {told}; set a number of rows: newest = 100000", told)
        before_s = max((table.gone.end_s for table in tables), default=-np.inf)
        end_s = self._thin(tables, self._newest, last=True)
        self._check_recordings(tables)
        return end_s is not None and before_s > end_s

    def _thin(self, tables: Sequence[Columns], newest: Newest, *, last: bool = False) -> float | None:
        """Drop rows; return the moment from which days are counted back; None: no days are counted."""
        if self._time is None:
            drop = sum(table.rows for table in tables) - (newest.rows or 0)
            for table in tables:
                gone = min(max(drop, 0), table.rows)
                table.keep(np.arange(gone, table.rows))
                drop -= gone
            return None
        timed = [table for table in tables if self._time in table.names]
        if len(timed) < len(tables) or not timed:  # refused when the tables are joined
            return None
        found = times.seconds([table.times for table in timed])
        dates = np.concatenate([table.times.dates for table in timed])
        known = ~np.isnan(found)
        mixed = dates[known].any() and not dates[known].all()
        if not known.any() or (
            mixed and not last
        ):  # the unit of counts beside dates is known only at the end
            return None
        when = times.settled(found)
        few = FEW_AHEAD if last else FEW_SO_FAR
        end_s = days_end(when, self._now_s, [table.gone for table in timed], few)
        wanted, ahead = newest.chosen(when, end_s), times.ahead(when, self._now_s)
        # The counts as they are in the data, because one wrong time may change the unit of all of them.
        filled = times.settled(found if mixed else np.concatenate([table.times.counts for table in timed]))
        first = 0
        for table in timed:
            rows = slice(first, first + table.rows)
            first = rows.stop
            old = ~wanted[rows] & np.isfinite(when[rows])
            table.gone = DroppedByAge(
                table.gone.rows + int(old.sum()),
                table.gone.ahead + int((old & ahead[rows]).sum()),
                end_s if last else max(table.gone.end_s, end_s),
            )
            table.keep(np.flatnonzero(wanted[rows]), filled[rows])
        return end_s if newest.days is not None else None

    def _check_recordings(self, tables: Sequence[Columns]) -> None:
        """Raise a DataError if there are more recordings to remember than there is room for."""
        named = [table for table in tables if table.series is not None]
        if sum(len(table.forgotten.rows) for table in named) <= MOST_RECORDINGS:
            return
        told = public(
            "[data] series names more than {most} recordings that [data] newest leaves out",
            most=MOST_RECORDINGS,
        )
        raise DataError(
            f"column {named[0].series!r}: {told}; each must be remembered, so that no held-out row is "
            "trained on later; set [data] series to a column that names recordings, not single rows, or "
            "remove it, which makes each file one recording",
            told,
        )
