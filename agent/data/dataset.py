"""Prepares a device's samples for a task: its columns, its classes, a training part and a held-out part."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.data.answers import answers
from agent.data.division import Rows, divide, divide_rest
from agent.data.features import features
from agent.data.labels import UNKNOWN
from agent.data.missing_values import settle_missing
from agent.data.rules import Rules, effective
from agent.data.unfit import Unfit
from agent.settings.data import DataSettings
from agent.sources.samples import Samples
from fedge.data.disclosure import public
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason

CHOOSE = 0.2
"""The share of the training rows that a device chooses a model by, where it has several."""
FEWEST_TO_CHOOSE = 5
"""With fewer rows to choose by a device does not choose: a single row would decide too much."""


@dataclass(frozen=True)
class Dataset:
    """A device's samples in the form that a task needs, in the order of the data."""

    X: NDArray[np.float32] | NDArray[np.float64]
    """Training part, shape (n, d), in the features' own units; n is the update's n_k. It is float64 if the
    task's first layer takes float64."""
    y: NDArray[Any]
    """Class indices, int64 of shape (n,); or targets in their own units, float32 of shape (n, t)."""
    held_X: NDArray[np.float32] | NDArray[np.float64]  # noqa: N815 (X is the field's name for samples)
    """Held-out part, shape (h, d)."""
    held_y: NDArray[Any]
    """Like `y`, for the h held-out rows."""
    unknown: int = 0
    """The number of rows left out because the task does not know their class."""
    rows: NDArray[np.intp] | None = None
    """Shape (n,): the numbers of the training part's rows among the samples; None: unknown."""
    capped: int = 0
    """The number of older training rows that are left out because the round takes no more."""
    choose_X: NDArray[np.float32] | NDArray[np.float64] | None = None  # noqa: N815 (see `held_X`)
    """The part to choose a model by, shape (c, d): neither trained on nor reported. None: there is none."""
    choose_y: NDArray[Any] | None = None
    """Like `y`, for its c rows."""

    @property
    def with_choice(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The training part and the part to choose by together: samples and targets like `X` and `y`."""
        if self.choose_X is None or self.choose_y is None:
            return self.X, self.y
        return np.concatenate([self.X, self.choose_X]), np.concatenate([self.y, self.choose_y])

    @property
    def held_unseen(self) -> int:
        """The number of held-out rows whose class does not occur in the training part; 0 for a regression."""
        if self.y.dtype.kind == "f":
            return 0
        return int(np.isin(self.held_y, self.y, invert=True).sum())


def fit(
    samples: Samples,
    task: Task,
    settings: DataSettings,
    cap: int | None = None,
    *,
    exact: bool = False,
    chooses: bool = False,
) -> Dataset:
    """Choose the task's columns, settle missing values, and keep a part for evaluation.

    With `missing = "fill"`, while the network has no Standardize layer yet (in the survey), features keep
    their NaN, which the survey does not count. A row without an answer is then dropped. `features` says when
    features are float64.

    Args:
        samples: the samples of the source, n rows.
        task: what is learnt.
        settings: the section of the source.
        cap: the largest number of training rows. The last ones in the order of the data are used. The
            held-out part stays. None: all.
        exact: whether features are float64 for any network.
        chooses: whether the device chooses among models. Then `CHOOSE` of the training rows are a part of
            their own, unless that part had less than `FEWEST_TO_CHOOSE` rows, or left fewer for training than
            `settings.minimum`.

    Raises:
        Unfit: WRONG_INPUT, the columns are not the task's; BAD_DATA, a value cannot be used;
            TOO_FEW_SAMPLES, fewer than `settings.minimum` rows are left for training, or `cap` is smaller.
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
    chosen = None
    if chooses:
        used, chosen = _cut(samples, used, rules, settings.minimum)
    return Dataset(
        X[used],
        y[used],
        X[held],
        y[held],
        int(strange.sum()),
        used,
        capped,
        X[chosen] if chosen is not None else None,
        y[chosen] if chosen is not None else None,
    )


def _cut(samples: Samples, training: Rows, rules: Rules, minimum: int) -> tuple[Rows, Rows | None]:
    """Divide the training rows into those to train on and those to choose by; None: too few for both."""
    holdout = rules.holdout
    stay, chosen = divide_rest(
        samples.series, training, holdout.part, CHOOSE, rules.gap, holdout.by, samples.earlier
    )
    if len(chosen) < FEWEST_TO_CHOOSE or len(stay) < minimum:
        return training, None
    return stay, chosen


def parts(samples: Samples, keep: Rows, rules: Rules) -> tuple[Rows, Rows]:
    """Divide the rows to keep into training rows and held-out rows, each ascending.

    By time, the kept rows alone are divided. Otherwise a row's position in its whole series decides, so that
    no row changes its part because another one is kept.
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
    """Return the error for fewer training rows than the minimum."""
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
