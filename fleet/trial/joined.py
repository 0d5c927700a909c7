"""The rows of all devices as one table, to make a proposal for the fleet from."""

from collections.abc import Sequence

import numpy as np

from agent.sources import Samples
from fedge.data.disclosure import listing
from fleet.trial.columns import is_epoch
from fleet.trial.table import Table


def joined(tables: Sequence[Table], label: str | None) -> Samples:
    """Put tables one below the other, with the columns that all of them have, in the order of the first.

    Args:
        tables: of all devices.
        label: the column of classes; None: there is none.
    """
    columns = tuple(name for name in tables[0].columns if all(name in table.columns for table in tables))
    series, begun = [], 0
    for table in tables:
        series.append(table.series + begun)
        begun += 1 + int(table.series.max(initial=-1))
    more = f" and {len(tables) - 1} more" if len(tables) > 1 else ""
    labels = [table.labels for table in tables if table.labels is not None]
    y = np.concatenate(labels) if label is not None and len(labels) == len(tables) else None
    faults = {
        j: next(table.faults[name] for table in tables if name in table.faults)
        for j, name in enumerate(columns)
        if any(name in table.faults for table in tables)
    }
    return Samples(
        name=tables[0].name + more,
        X=np.concatenate([table.X[:, [table.columns.index(name) for name in columns]] for table in tables]),
        columns=columns,
        y=y,
        answer=f"column {label!r}",
        series=np.concatenate(series),
        blocks=tuple((table.name, len(table)) for table in tables),
        faults=faults,
        unanswered=None if y is None else y == "",
    )


def apart(tables: Sequence[Table], series: str | None) -> dict[str, str]:
    """Columns that a comparison of devices shows to be no features, with the reasons."""
    reasons = {} if series is None else {series: "says which recording a row belongs to"}
    names = dict.fromkeys(name for table in tables for name in table.columns)
    for name in names:
        here = [table for table in tables if name in table.columns]
        if len(here) < len(tables):
            lacking = listing([table.device for table in tables if name not in table.columns])
            reasons.setdefault(name, f"is on {len(here)} of {len(tables)} devices only, not on {lacking}")
        elif not any(name in table.faults for table in tables) and _names_device(tables, name):
            reasons.setdefault(
                name, "is the same within each device and another on each: an id of the device"
            )
    return reasons


def _names_device(tables: Sequence[Table], name: str) -> bool:
    columns = [table.column(name) for table in tables]
    filled = [column[~np.isnan(column)] for column in columns]
    filled = [column for column in filled if len(column)]
    values = np.array([column[0] for column in filled if column.min() == column.max()], np.float64)
    if len(filled) < 2 or len(values) < len(filled) or is_epoch(values):
        return False
    return len(np.unique(values)) == len(values) and bool((values == np.round(values)).all())
