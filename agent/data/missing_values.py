"""Handles missing values: rows with one are refused, dropped or filled."""

import numpy as np
from numpy.typing import NDArray

from agent.data.division import Rows
from agent.data.rules import Rules
from agent.data.unfit import Unfit
from agent.sources.samples import Samples
from fedge.data.disclosure import Known, Public, public
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason


def settle_missing(
    X: NDArray[np.float32] | NDArray[np.float64],
    samples: Samples,
    task: Task,
    rules: Rules,
    unanswered: NDArray[np.bool_] | None = None,
    left_out: NDArray[np.bool_] | None = None,
) -> Rows:
    """Apply `rules.missing` to the features `X` of shape (n, d), in place; return the rows to keep.

    Args:
        X: the features, as `features` returns them.
        samples: the samples that the rows are from, for error messages.
        task: the task, whose Standardize layer holds the survey's means.
        rules: the rules in force.
        unanswered: shape (n,), the rows whose answer is missing. They cannot be filled.
        left_out: shape (n,), the rows that are left out in any case.

    Raises:
        Unfit: BAD_DATA, a value is missing and `missing = "refuse"`.
    """
    absent = np.isnan(X)
    others = np.zeros(len(X), dtype=np.bool_) if left_out is None else left_out
    rows = any_in_row(absent) & ~others
    lacking = rows if unanswered is None else rows | unanswered
    if rules.missing == "refuse" and lacking.any():
        row = int(lacking.argmax())
        what = _input_name(samples, task, int(absent[row].argmax())) if rows[row] else public("the answer")
        told = public("{what} is missing", what=what)
        wanted = (task.features[int(absent[row].argmax())],) if rows[row] else task.targets or ()
        if (fault := samples.unread_at(row, wanted)) is not None:
            raise Unfit(
                Reason.BAD_DATA,
                f'{fault.text}; correct it, or set [data] missing = "drop" or "fill"',
                public("{place}, {what}: {why}", place=fault.place, what=what, why=fault.what),
            )
        raise Unfit(
            Reason.BAD_DATA,
            f'{samples.place(row)}: {told}; complete it, or set [data] missing = "drop" or "fill"',
            public("{place}: {told}", place=samples.public_place(row), told=told),
        )
    if rules.missing == "fill":
        first = task.network.first
        if first is not None:
            np.copyto(X, first.exact_means.astype(X.dtype), where=absent)
        lacking = np.zeros(len(X), dtype=np.bool_) if unanswered is None else unanswered
    return np.flatnonzero(~(lacking | others))


def _input_name(samples: Samples, task: Task, j: int) -> Public:
    name = Known(task.features[j])
    return (
        public("column {name!r}", name=name)
        if samples.columns
        else public("column {j} ({name})", j=j, name=name)
    )


def any_in_row(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows hold a True: (n, d) -> (n,)."""
    return np.asarray(mask.any(axis=1))
