"""What a task makes of a device's samples: its columns, its classes, a training and a held-out part."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.config import DataSettings
from agent.sources.samples import Samples
from fedge.disclosure import Known, Public, listing, public, withheld
from fedge.errors import DataError
from fedge.messages import Task
from fedge.nn.spec import Standardize
from fedge.reasons import Reason

_MISSING, _UNKNOWN = -1, -2


class Unfit(DataError):  # noqa: N818 (an answer of the device's rather than an error)
    """These samples cannot serve this task: why a device declines."""

    def __init__(self, reason: Reason, text: str, told: Public | None = None) -> None:
        super().__init__(text, told or withheld(reason))
        self.reason = reason


@dataclass(frozen=True)
class Dataset:
    """A device's samples as a task wants them, in the order of the data."""

    X: NDArray[np.float32]
    """Training part, of shape (n, d), in the features' own units; n is the update's n_k."""
    y: NDArray[Any]
    """Class indices, int64 of shape (n,); or targets in their own units, float32 of shape (n, t)."""
    held_X: NDArray[np.float32]  # noqa: N815 (X is the field's name for samples)
    """Held-out part, of shape (h, d)."""
    held_y: NDArray[Any]
    """As `y`, of h rows."""


def fit(samples: Samples, task: Task, settings: DataSettings) -> Dataset:
    """Choose the task's columns, settle missing values, and keep the end of each series for evaluation.

    Where `missing = "fill"` and the network has no Standardize layer as yet (the survey), features keep
    their NaN, to be counted out. A row without an answer is dropped then.

    Raises:
        Unfit: WRONG_INPUT, the columns are not the task's; BAD_DATA, a value cannot be used;
            TOO_FEW_SAMPLES, less than `settings.minimum` are left for training.
    """
    X = features(samples, task)
    y, unanswered = answers(samples, task)
    keep = settle_missing(X, samples, task, settings, unanswered)
    training, held = divide(samples.series[keep], settings.holdout, settings.gap)
    if len(training) < settings.minimum:
        told = public(
            "{training} samples for training, the minimum is {minimum}; of {rows} rows {dropped} were "
            "dropped for missing values, {held} are held out, {gaps} lie in gaps",
            training=len(training),
            minimum=settings.minimum,
            rows=len(samples.X),
            dropped=len(samples.X) - len(keep),
            held=len(held),
            gaps=len(keep) - len(training) - len(held),
        )
        raise Unfit(Reason.TOO_FEW_SAMPLES, f"{samples.name}: {told}", told)
    return Dataset(X[keep[training]], y[keep[training]], X[keep[held]], y[keep[held]])


def features(samples: Samples, task: Task) -> NDArray[np.float32]:
    """The task's inputs in its order, a copy of shape (n, d), NaN where missing.

    Raises:
        Unfit: WRONG_INPUT, a column is missing or the number of unnamed ones differs; BAD_DATA, a column
            of the task holds something else than finite numbers.
    """
    if samples.columns is None and samples.X.shape[1] != len(task.features):
        told = public(
            "X has {columns} columns, the task {wanted} features: {names}",
            columns=samples.X.shape[1],
            wanted=len(task.features),
            names=Known(*task.features),
        )
        raise Unfit(Reason.WRONG_INPUT, f"{samples.name}: {told}", told)
    return _columns(samples, task.features if samples.columns else None, public("features"))


def answers(samples: Samples, task: Task) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """What each row's answer is, as in `Dataset.y`, and the rows of shape (n,) where it is missing.

    Raises:
        Unfit: WRONG_INPUT, there are none, or they are of another kind than the task's; BAD_DATA, one names
            no class of the task, or is no number.
    """
    return _classes(samples, task.classes) if task.classes else _targets(samples, task.targets or ())


def settle_missing(
    X: NDArray[np.float32],
    samples: Samples,
    task: Task,
    settings: DataSettings,
    unanswered: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """Apply `settings.missing` to the features `X` of shape (n, d), in place; returns the rows to keep.

    Args:
        X: as `features` returns them.
        samples: where they came from, for error messages.
        task: its Standardize layer holds the survey's means.
        settings: what to do.
        unanswered: of shape (n,), rows whose answer is missing; they cannot be filled.

    Raises:
        Unfit: BAD_DATA, a value is missing and `missing = "refuse"`.
    """
    absent = np.isnan(X)
    rows = _any(absent)
    lacking = rows if unanswered is None else rows | unanswered
    if settings.missing == "refuse" and lacking.any():
        row = int(lacking.argmax())
        what = _input_name(samples, task, int(absent[row].argmax())) if rows[row] else public("the answer")
        told = public("{what} is missing", what=what)
        raise Unfit(
            Reason.BAD_DATA,
            f'{samples.place(row)}: {told}; complete it, or set [data] missing = "drop" or "fill"',
            public("{place}: {told}", place=samples.public_place(row), told=told),
        )
    if settings.missing == "fill":
        first = task.network.layers[0]
        if isinstance(first, Standardize):
            np.copyto(X, first.means, where=absent)
        lacking = np.zeros(len(X), dtype=np.bool_) if unanswered is None else unanswered
    return np.flatnonzero(~lacking)


def divide(series: NDArray[np.int64], holdout: float, gap: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Cut each series by time: rows for training, `gap` rows for neither, and the last `holdout` of them.

    Args:
        series: of shape (n,), the recording each row belongs to, rows of one in the order of time.
        holdout: the part kept for evaluation, rounded down to whole rows.
        gap: rows between the two parts, where anything is held out.

    Returns:
        The indices of the training and of the held-out rows, each ascending.
    """
    training, held = np.zeros(len(series), dtype=np.bool_), np.zeros(len(series), dtype=np.bool_)
    order = np.argsort(series, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(series[order])) + 1):
        kept = int(len(rows) * holdout + 1e-9)  # 0.29 · 100 is 28.999… in binary
        first = len(rows) - kept
        held[rows[first:]] = True
        training[rows[: max(first - gap, 0) if kept else first]] = True
    return np.flatnonzero(training), np.flatnonzero(held)


def _input_name(samples: Samples, task: Task, j: int) -> Public:
    name = Known(task.features[j])
    return (
        public("column {name!r}", name=name)
        if samples.columns
        else public("column {j} ({name})", j=j, name=name)
    )


def _columns(samples: Samples, names: tuple[str, ...] | None, role: Public) -> NDArray[np.float32]:
    """Copy columns by name, in order; None: all as they are."""
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
    return samples.X[:, chosen]


def _classes(samples: Samples, classes: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels as indices of `classes`, of shape (n,), and where they are missing.

    Text is a class's name. So is an integer where any class is named by one ("0", "1"); else it is an index.
    """
    y = samples.y
    if y is None:
        shown = f"; the columns are {listing(samples.columns)}" if samples.columns else ""
        raise Unfit(
            Reason.WRONG_INPUT,
            f"{samples.name}: there is no {samples.answer} with each row's class{shown}",
            public("there is no column or array with each row's class"),
        )
    if y.ndim != 1 or y.dtype.kind == "f":
        raise Unfit(
            Reason.WRONG_INPUT,
            f"{samples.name}: {samples.answer} must be class names or integers of shape (samples,) for a "
            f"classification, got {y.dtype} of shape {y.shape}",
            public("the answers must be class names or integers of shape (samples,) for a classification"),
        )
    indices = {name: index for index, name in enumerate(classes)}
    if y.dtype.kind != "U" and not any(re.fullmatch(r"-?\d+", name) for name in classes):
        indices = {str(index): index for index in range(len(classes))}
    values, inverse = np.unique(y if y.dtype.kind in "iuU" else y.astype(np.int64), return_inverse=True)
    found = np.array(
        [indices.get(text, _UNKNOWN) if text else _MISSING for text in map(str, values)], dtype=np.int64
    )[inverse.reshape(-1)]
    if samples.unanswered is not None:
        found[samples.unanswered] = _MISSING
    unknown = found == _UNKNOWN
    if unknown.any():
        row = int(unknown.argmax())
        told = public(
            "names none of the task's classes ({rows} such rows); they are {classes}",
            rows=int(unknown.sum()),
            classes=Known(*classes),
        )
        raise Unfit(
            Reason.BAD_DATA,
            f"{samples.place(row)}: {samples.answer} {told}",
            public("{place}: the answer {told}", place=samples.public_place(row), told=told),
        )
    return found, found == _MISSING


def _targets(samples: Samples, targets: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A regression's targets, of shape (n, t), and the rows where one is missing."""
    y = samples.y
    named = set(targets) <= set(samples.columns or ())
    if named or y is None or y.dtype.kind == "U":
        if samples.columns is None:
            told = public(
                "y must hold the targets {targets}; {what}",
                targets=Known(*targets),
                what=public("there is none") if y is None else public("it is text"),
            )
            raise Unfit(Reason.WRONG_INPUT, f"{samples.name}: {told}", told)
        found = _columns(samples, targets, public("targets"))
        return found, _any(np.isnan(found))
    if y.size != len(y) * len(targets):
        wanted = public(
            "the task has {count} targets: {targets}", count=len(targets), targets=Known(*targets)
        )
        raise Unfit(
            Reason.WRONG_INPUT,
            f"{samples.name}: y has shape {y.shape}, {wanted}",
            public("y has {count} numbers in a row, {wanted}", count=y.size // len(y), wanted=wanted),
        )
    with np.errstate(over="ignore"):
        found = y.reshape(len(y), len(targets)).astype(np.float32)
    if samples.unanswered is not None:
        found[samples.unanswered] = np.nan
    beyond = _any(np.isinf(found))
    if beyond.any():
        row, told = int(beyond.argmax()), public("y is infinite, or too large for a float32")
        raise Unfit(
            Reason.BAD_DATA,
            f"{samples.place(row)}: {told}",
            public("{place}: {told}", place=samples.public_place(row), told=told),
        )
    return found, _any(np.isnan(found))


def _any(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The rows that hold a True: (n, d) -> (n,)."""
    return np.asarray(mask.any(axis=1))
