"""Prepare a device's samples for a task: its columns, its classes, a training and a held-out part."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.data.division import Rows, divide
from agent.data.labels import MISSING, UNKNOWN, Labels, read_labels, suggestions
from agent.data.mix import may_be_told
from agent.data.rules import Rules, effective
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.data.disclosure import Agreed, Known, Public, listing, public, withheld
from fedge.errors import DataError
from fedge.nn.spec import takes_float64
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason

NAMES_TOLD = 5
"""How many names of a device's own classes one decline lists, if its owner allows that."""


class Unfit(DataError):  # noqa: N818 (an answer of the device's rather than an error)
    """These samples cannot serve this task: why a device declines."""

    def __init__(self, reason: Reason, text: str, told: Public | None = None) -> None:
        super().__init__(text, told or withheld(reason))
        self.reason = reason


@dataclass(frozen=True)
class Dataset:
    """A device's samples as a task needs them, in the order of the data."""

    X: NDArray[np.float32] | NDArray[np.float64]
    """Training part, of shape (n, d), in the features' own units; n is the update's n_k. In float64 where the
    task's first layer takes that."""
    y: NDArray[Any]
    """Class indices, int64 of shape (n,); or targets in their own units, float32 of shape (n, t)."""
    held_X: NDArray[np.float32] | NDArray[np.float64]  # noqa: N815 (X is the field's name for samples)
    """Held-out part, of shape (h, d)."""
    held_y: NDArray[Any]
    """As `y`, for the h held-out rows."""
    unknown: int = 0
    """Rows left out because the task does not know their class."""
    rows: NDArray[np.intp] | None = None
    """Of shape (n,): the rows of the samples that are the training part; None: unknown."""
    capped: int = 0
    """The number of older training rows that are left out because the round takes no more."""

    @property
    def held_unseen(self) -> int:
        """Held-out rows whose class does not occur in the training part; 0 for a regression."""
        if self.y.dtype.kind == "f":
            return 0
        return int(np.isin(self.held_y, self.y, invert=True).sum())


def fit(
    samples: Samples, task: Task, settings: DataSettings, cap: int | None = None, *, exact: bool = False
) -> Dataset:
    """Choose the task's columns, settle missing values, and keep a part for evaluation.

    Only the newest `cap` rows of the training part are taken, the last ones in the order of the data. The
    held-out part stays.

    With `missing = "fill"`, while the network has no Standardize layer yet (in the survey), features keep
    their NaN, which the survey does not count. A row without an answer is then dropped. `features` says when
    features are float64.

    Raises:
        Unfit: WRONG_INPUT, the columns are not the task's; BAD_DATA, a value cannot be used;
            TOO_FEW_SAMPLES, fewer than `settings.minimum` rows are left for training.
    """
    X = features(samples, task, exact=exact)
    rules = effective(settings, task)
    y, unanswered = answers(samples, task, settings)
    strange = y == UNKNOWN if task.classes else np.zeros(len(X), dtype=np.bool_)
    keep = settle_missing(X, samples, task, rules, unanswered, strange)
    training, held = parts(samples, keep, rules)
    if cap is not None and len(training) >= settings.minimum > cap:
        told = public(
            "the round takes at most {cap} samples, the minimum is {minimum}",
            cap=cap,
            minimum=settings.minimum,
        )
        raise Unfit(Reason.TOO_FEW_SAMPLES, f"{samples.name}: {told}", told)
    if len(training) < settings.minimum:
        raise too_few(samples, settings, len(training), len(held), len(keep), int(strange.sum()))
    used = training if cap is None else training[-cap:]
    capped = len(training) - len(used)
    return Dataset(X[used], y[used], X[held], y[held], int(strange.sum()), used, capped)


def parts(samples: Samples, keep: Rows, rules: Rules) -> tuple[Rows, Rows]:
    """The training rows and the held-out rows among those to keep, each ascending.

    By time, the kept rows are divided. Otherwise a row's place in its whole series decides, so that no row
    changes its part because another one is kept.
    """
    holdout = rules.holdout
    if holdout.by == "time":
        training, held = divide(samples.series[keep], holdout.part, rules.gap)
        return keep[training], keep[held]
    training, held = divide(samples.series, holdout.part, rules.gap, holdout.by, samples.earlier)
    return np.intersect1d(training, keep), np.intersect1d(held, keep)


def too_few(
    samples: Samples, settings: DataSettings, training: int, held: int, kept: int, strange: int
) -> Unfit:
    """The message if fewer rows than the minimum are left for training."""
    told = public(
        "{training} samples for training, the minimum is {minimum}; of {rows} rows {dropped} were "
        "dropped for missing values, {held} are held out, {gaps} lie in gaps",
        training=training,
        minimum=settings.minimum,
        rows=len(samples.X),
        dropped=len(samples.X) - kept - strange,
        held=held,
        gaps=kept - training - held,
    )
    if strange:
        told = public(
            "{told}, {strange} are of classes that the task does not know", told=told, strange=strange
        )
    return Unfit(Reason.TOO_FEW_SAMPLES, f"{samples.name}: {told}", told)


def features(
    samples: Samples, task: Task, *, exact: bool = False
) -> NDArray[np.float32] | NDArray[np.float64]:
    """The task's inputs in its order, a copy of shape (n, d), NaN where missing.

    They are float64, without the rounding to float32, if the task's first layer takes that or `exact` is set.

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
    chosen = _columns(samples, task.features if samples.columns else None, public("features"))
    return table_of(samples, chosen, exact=exact or takes_float64(task.network))


def table_of(
    samples: Samples, columns: Sequence[int], *, exact: bool
) -> NDArray[np.float32] | NDArray[np.float64]:
    """A copy of columns, in this order; `exact`: in float64, without the rounding to float32 where that is
    known."""
    X = samples.X[:, columns]
    if not exact:
        return X
    wide = X.astype(np.float64)
    for i, j in enumerate(columns):
        if (more := samples.rest.get(j)) is not None:
            wide[:, i] += more
    return wide


def answers(samples: Samples, task: Task, settings: DataSettings) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The answer of each row, as in `Dataset.y`, and an array of shape (n,) of the rows without one.

    A label that names no class of the task is `UNKNOWN` if the rules allow to leave out such rows.

    Raises:
        Unfit: WRONG_INPUT, there are none, or they are of another kind than the task's; BAD_DATA, one names
            no class of the task, or is no number.
    """
    if task.classes:
        return _classes(samples, task.classes, effective(settings, task), settings)
    return _targets(samples, task.targets or ())


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
        X: as `features` returns them.
        samples: the source of the rows, for error messages.
        task: its Standardize layer holds the survey's means.
        rules: the rules in force.
        unanswered: of shape (n,), rows whose answer is missing; they cannot be filled.
        left_out: of shape (n,), rows that are not kept whatever they hold.

    Raises:
        Unfit: BAD_DATA, a value is missing and `missing = "refuse"`.
    """
    absent = np.isnan(X)
    others = np.zeros(len(X), dtype=np.bool_) if left_out is None else left_out
    rows = _any(absent) & ~others
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


def _columns(samples: Samples, names: tuple[str, ...] | None, role: Public) -> list[int]:
    """The numbers of columns by name, in order; None: of all. They must be usable."""
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


def _classes(
    samples: Samples, classes: tuple[str, ...], rules: Rules, settings: DataSettings
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels as indices of `classes`, of shape (n,), and where they are missing.

    Unknown ones are `UNKNOWN` if the rules allow to leave them out.
    """
    labels = labels_of(samples, classes, rules, settings)
    if labels.from_one and settings.first_class is None:
        told = public("whole numbers from 1 to {count}, but classes are counted from 0", count=len(classes))
        raise Unfit(
            Reason.BAD_DATA,
            f"{samples.name}: {samples.answer}: {told}; if 1 is {classes[0]!r}, set [data] first_class = 1",
            public("the answers are {told}; [data] first_class = 1 counts them from 1", told=told),
        )
    unknown = labels.indices == UNKNOWN
    if unknown.any() and rules.unknown_labels == "refuse":
        row = int(unknown.argmax())
        told = public(
            "names none of the task's classes ({rows} such rows); they are {classes}",
            rows=int(unknown.sum()),
            classes=Known(*classes),
        )
        near = sorted(set(suggestions([*labels.unknown], classes).values()))
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        raise Unfit(
            Reason.BAD_DATA,
            f"{samples.place(row)}: {samples.answer} {told}{hint}; "
            "`fedge-agent --check` shows the lines for [data] labels, or set unknown_labels",
            _with_names(
                public("{place}: the answer {told}", place=samples.public_place(row), told=told),
                may_be_told(labels.unknown) if settings.tell_classes else [],
            ),
        )
    return labels.indices, labels.indices == MISSING


def _with_names(told: Public, names: list[str]) -> Public:
    """The text for others, with names of the device's own classes if its owner allows that."""
    if not names:
        return told
    return public("{told}; here there are {names}", told=told, names=Agreed(*names[:NAMES_TOLD]))


def labels_of(samples: Samples, classes: tuple[str, ...], rules: Rules, settings: DataSettings) -> Labels:
    """The labels, as they are read for these classes.

    Raises:
        Unfit: WRONG_INPUT, there are none, or they are no names and no whole numbers.
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
    return read_labels(samples, classes, rules.labels, settings.first_class)


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
        found = samples.X[:, _columns(samples, targets, public("targets"))]
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
