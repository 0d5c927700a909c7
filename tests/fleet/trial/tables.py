"""Tables for the tests of what is decided from them."""

from collections.abc import Mapping, Sequence

import numpy as np

from agent.sources.samples import Fault
from fedge.data.disclosure import public
from fleet.trial.table import Table


def table(
    device: str,
    columns: Mapping[str, Sequence[float]],
    labels: Sequence[str] | None = None,
    faults: Mapping[str, str] | None = None,
) -> Table:
    """A device's rows, column by column; the label's column is called `label`."""
    X = np.array(list(columns.values()), dtype=np.float32).T
    names = tuple(columns)
    if labels is not None:
        X = np.column_stack([X, np.full(len(labels), np.nan, np.float32)])
        names = (*names, "label")
    return Table(
        device=device,
        name=f"{device}.csv",
        columns=names,
        X=X,
        labels=None if labels is None else np.array(labels, dtype=np.str_),
        series=np.zeros(len(X), dtype=np.int64),
        faults={
            name: Fault(text, public("line 2"), public("not a number"))
            for name, text in (faults or {}).items()
        },
    )
