"""The order of all tables' rows by time, and the rows whose time is in the future."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.sources import times
from agent.sources.dropped_rows import DroppedByAge
from agent.sources.newest_rows import days_end
from agent.sources.samples import Ahead
from agent.sources.table import Table
from fedge.data.disclosure import public
from fedge.errors import DataError


def rows_ahead(
    found: NDArray[np.float64], order: NDArray[np.intp] | None, now_s: float, gone: Sequence[DroppedByAge]
) -> Ahead | None:
    """Return the rows whose time is in the future; None: there are none.

    Args:
        found: shape (n,), the times of the rows in seconds since 1970, NaN where there is none.
        order: shape (n,), the order in which the rows are used; None: they stay as they are.
        now_s: the time by the device's clock, in seconds since 1970.
        gone: the dropped rows of each table.
    """
    there = np.flatnonzero(times.ahead(found, now_s))
    if not len(there):
        return None
    first = int(there[0])
    return Ahead(
        len(there),
        int(np.isfinite(found).sum()),
        first if order is None else int(np.flatnonzero(order == first)[0]),
        times.written(float(found[first])),
        times.written(now_s),
        times.written(days_end(found, now_s, gone)),
    )


def time_order(
    path: Path, tables: Sequence[Table], time: str, found: NDArray[np.float64]
) -> tuple[NDArray[np.intp] | None, str]:
    """Return the rows in the order of time, and a note about it for the owner.

    Args:
        path: the source, for messages.
        tables: all tables.
        time: the column of times.
        found: shape (n,), the times of all rows in seconds since 1970, NaN where there is none.

    Returns:
        Shape (n,), the order of the rows (None: they are in order), and the note.

    Raises:
        DataError: no cell of the column is a time.
    """
    unknown = sum(int(table.columns.times.unknown.sum()) for table in tables)
    if np.isnan(found).all():
        told = public("no cell of the column that [data] time names is a time")
        raise DataError(
            f"{path}: column {time!r}: {told}; write times in ISO 8601 or as seconds since 1970", told
        )
    order = times.order(found)
    told_ = f"rows are in the order of column {time!r}"
    if order is not None:
        told_ += ", which is not their order in the data"
    if unknown:
        told_ += f"; {unknown} rows without a time follow the row before them"
    return order, told_


def refuse_sensors(path: Path, tables: Sequence[Table]) -> None:
    """Refuse files of Sensor Logger. Each holds one sensor at the same times, so its lines are not more rows.

    Raises:
        DataError: two files have the column `seconds_elapsed`, and their times overlap.
    """
    sensors = [
        (table.columns.times.span, table.file.name)
        for table in tables
        if "seconds_elapsed" in table.columns.names
    ]
    spans = sorted((*span, name) for span, name in sensors if span is not None)
    for one, other in pairwise(spans):
        if other[0] < one[1] and one[2] != other[2]:
            told = public(
                "the files are sensors of one recording; they must be joined by time, not row by row"
            )
            raise DataError(
                f"{path}: {one[2]}, {other[2]}: {told}; write one file with a column for each sensor, or "
                "name one of the files in [data] path",
                told,
            )
