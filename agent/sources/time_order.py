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
    """The rows whose time is in the future; `gone`: the dropped ones."""
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
    """The rows in the order of time, and a note about it for the owner."""
    unknown = sum(int(table.columns.times.unknown.sum()) for table in tables)
    if np.isnan(found).all():
        told = public("no cell of the column that [data] time names is a time")
        raise DataError(f"{path}: column {time!r}: {told}; ISO 8601 is, and seconds since 1970", told)
    order = times.order(found)
    told_ = f"rows are in the order of column {time!r}" + ("" if order is None else ", not as they stand")
    if unknown:
        told_ += f"; {unknown} rows without a time stay behind the row before them"
    return order, told_


def refuse_sensors(path: Path, tables: Sequence[Table]) -> None:
    """Refuse files of Sensor Logger: each holds one sensor, at the same times, so they are no further
    rows."""
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
                f"{path}: {one[2]}, {other[2]}: {told}: one file with a column for each sensor, or name one "
                "of the files in [data] path",
                told,
            )
