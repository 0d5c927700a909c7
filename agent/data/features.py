"""Takes the inputs of a task, its columns, from a device's samples."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.data.unfit import Unfit
from agent.sources.samples import Samples
from fedge.data.disclosure import Known, Public, listing, public
from fedge.nn.spec import takes_float64
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason


def features(
    samples: Samples, task: Task, *, exact: bool = False
) -> NDArray[np.float32] | NDArray[np.float64]:
    """Copy the task's inputs in its order, shape (n, d); NaN is a missing value.

    They are float64, without the rounding to float32, if the task's first layer takes float64 or `exact` is
    set.

    Raises:
        Unfit: WRONG_INPUT, a column is missing, or the number of columns without names differs; BAD_DATA, a
            column of the task holds something else than finite numbers.
    """
    if samples.columns is None and samples.X.shape[1] != len(task.features):
        told = public(
            "X has {columns} columns, the task {wanted} features: {names}",
            columns=samples.X.shape[1],
            wanted=len(task.features),
            names=Known(*task.features),
        )
        raise Unfit(Reason.WRONG_INPUT, f"{samples.name}: {told}", told)
    chosen = columns_of(samples, task.features if samples.columns else None, public("features"))
    return table_of(samples, chosen, exact=exact or takes_float64(task.network))


def table_of(
    samples: Samples, columns: Sequence[int], *, exact: bool
) -> NDArray[np.float32] | NDArray[np.float64]:
    """Copy columns in this order. `exact`: in float64, without the rounding to float32 where it is known."""
    X = samples.X[:, columns]
    if not exact:
        return X
    wide = X.astype(np.float64)
    for i, j in enumerate(columns):
        if (more := samples.rest.get(j)) is not None:
            wide[:, i] += more
    return wide


def columns_of(samples: Samples, names: tuple[str, ...] | None, role: Public) -> list[int]:
    """Return the numbers of columns by name, in order; None: of all columns.

    Raises:
        Unfit: WRONG_INPUT, there is no column of a name; BAD_DATA, a column cannot be used.
    """
    if names is None:
        chosen = list(range(samples.X.shape[1]))
    else:
        where = {name: j for j, name in enumerate(samples.columns or ())}
        lacking = [name for name in names if name not in where]
        if lacking:
            if samples.nameless is not None:
                raise Unfit(Reason.BAD_DATA, str(samples.nameless), samples.nameless.public)
            told = public(
                "there is no column {name!r} ({lacking} of the task's {count} {role} are missing)",
                name=Known(lacking[0]),
                lacking=len(lacking),
                count=len(names),
                role=role,
            )
            shown = listing(samples.columns or ())
            raise Unfit(Reason.WRONG_INPUT, f"{samples.name}: {told}; the columns are {shown}", told)
        chosen = [where[name] for name in names]
    for i, j in enumerate(chosen):
        if (fault := samples.faults.get(j)) is not None:
            column = (
                public("column {j}", j=j)
                if names is None
                else public("column {name!r}", name=Known(names[i]))
            )
            told = public("{place}, {column}: {what}", place=fault.place, column=column, what=fault.what)
            raise Unfit(Reason.BAD_DATA, fault.text, told)
    return chosen
