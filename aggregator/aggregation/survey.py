"""Round 0: the devices' column statistics are checked, merged, and become the frozen first layer.

So no data have to be normalised: the network takes raw features and, for a regression, gives raw targets.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.rules.columns import Columns, exact, pooled, robust
from fedge.algorithms.rules.outlying import Outlying, outlying
from fedge.data.moments import ROUNDING_UNITS, Moments, is_constant
from fedge.errors import ProtocolError
from fedge.nn.spec import LayerSpec, Rescale, Standardize, fine_columns
from fedge.wire.messages.survey import Survey
from fedge.wire.messages.task import Task
from fedge.wire.reasons import Reason, Rejection
from fedge.wire.topics import lane_of

Affine = TypeVar("Affine", Standardize, Rescale)

RULES: Mapping[str, Callable[[Sequence[Moments]], Columns]] = {
    "survey/1": pooled,
    "survey/2": robust,
    "survey/3": robust,
    "survey/4": exact,
}
"""The rules by name; any change of a bit of a frozen layer needs another version."""
RULE, CLIPPED = "survey/2", "survey/3"
"""The rules of surveys without and with a bound on the standardized inputs."""
EXACT = "survey/4"
"""The same with or without a bound, where a column is too fine for float32, so that inputs are float64."""
CLIP, REST = "layer:standardize.clip", "layer:standardize.rest"
"""The capabilities needed for the bound and for float64, as names of `fedge.wire.capabilities`."""

MIN_SAMPLES = 20
"""The fewest samples of a survey: statistics of fewer would nearly reveal a sample."""

MOST_ROWS = 2
"""Rows by class may be up to this many times the samples, because each count is rounded."""
MAX_MAGNITUDE = 1e30
"""The bound on a mean and a standard deviation, in the column's units: 1e8 below the largest float32."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A plausible survey."""

    features: Moments
    targets: Moments | None
    """For a regression only."""
    classes: Mapping[str, int] | None = None
    """Rows by class, for a classification only; None: the device does not tell."""

    def held_in(self, room: NDArray[np.float64]) -> "Measured":
        """The same with its moments in `room`, of shape (3, columns): features first, then targets."""
        width = len(self.features.mean)
        np.stack(_parts(self.features), out=room[:, :width])
        if self.targets is None:
            return Measured(Moments(*room), None, self.classes)
        np.stack(_parts(self.targets), out=room[:, width:])
        return Measured(Moments(*room[:, :width]), Moments(*room[:, width:]), self.classes)


@dataclass(frozen=True)
class Unmeasured:
    """Columns of which no device holds a single value, so that no frozen layer can be made."""

    columns: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(repr(name) for name in self.columns)
        return (
            f"no device measured {names}: add one that does; or correct the names in [model] or in the "
            "devices' settings and run `fedge-aggregator new-generation`, which surveys all devices again"
        )


def _parts(moments: Moments) -> tuple[NDArray[np.float64], ...]:
    return moments.count, moments.mean, moments.m2


def check(survey: Survey, task: Task, cap: int) -> Measured | Rejection:
    """Judge one device's survey of the columns of `task`; `cap` is the largest n_k that is believed."""
    if not MIN_SAMPLES <= survey.samples <= cap:
        return Rejection(
            Reason.BAD_SAMPLE_COUNT, f"{survey.samples} samples: a survey needs {MIN_SAMPLES} to {cap}"
        )
    targets = task.targets or ()
    try:
        features_seen = Moments.from_bytes(survey.features, len(task.features))
        targets_seen = Moments.from_bytes(survey.targets, len(targets))
    except ProtocolError as error:
        return Rejection(Reason.WRONG_LENGTH, str(error))
    for names, moments in ((task.features, features_seen), (targets, targets_seen)):
        if refusal := _refuse(names, moments, survey.samples):
            return refusal
    rows = {each.name: each.rows for each in survey.classes or ()} if task.classes else {}
    if sum(rows.values()) > MOST_ROWS * survey.samples:
        detail = f"{sum(rows.values())} rows by class, and only {survey.samples} samples"
        return Rejection(Reason.IMPLAUSIBLE, detail)
    return Measured(features_seen, targets_seen if targets else None, rows or None)


def _refuse(names: tuple[str, ...], moments: Moments, samples: int) -> Rejection | None:
    count, mean, m2 = moments.count, moments.mean, moments.m2
    finite = np.isfinite(count) & np.isfinite(mean) & np.isfinite(m2)
    if not finite.all():
        return _refusal(Reason.NOT_FINITE, names, ~finite, "count, mean and M2 must be finite")
    whole = (count == np.floor(count)) & (count >= 0) & (count <= samples)
    with np.errstate(over="ignore"):  # of a count that is refused
        largest = count * MAX_MAGNITUDE**2
    rules = (
        (Reason.BAD_SAMPLE_COUNT, whole, f"its count must be a whole number in 0…{samples}"),
        (Reason.IMPLAUSIBLE, np.abs(mean) <= MAX_MAGNITUDE, f"its mean must be within ±{MAX_MAGNITUDE:g}"),
        (Reason.IMPLAUSIBLE, m2 >= 0, "M2 is a sum of squares and cannot be negative"),
        (Reason.IMPLAUSIBLE, (m2 == 0) | (count > 1), "M2 must be 0 for one value or none"),
        (Reason.IMPLAUSIBLE, m2 <= largest, f"its standard deviation must be at most {MAX_MAGNITUDE:g}"),
    )
    for reason, holds, rule in rules:
        if not holds.all():
            return _refusal(reason, names, ~holds, rule)
    return None


def _refusal(reason: Reason, names: tuple[str, ...], wrong: NDArray[np.bool_], rule: str) -> Rejection:
    return Rejection(reason, f"column {names[int(np.argmax(wrong))][:100]!r}: {rule}")


def rule_of(clip: float | None, exact: bool = False) -> str:
    """The rule that a survey is closed by.

    Args:
        clip: to how many deviations inputs are clipped; None: they are not.
        exact: whether they are float64.
    """
    if exact:
        return EXACT
    return RULE if clip is None else CLIPPED


def standardize(
    task: Task, surveys: Mapping[str, Measured], rule: str = RULE, clip: float | None = None
) -> Task | Unmeasured:
    """Put a frozen `Standardize` before the network of `task`, and for a regression a `Rescale` behind it.

    Args:
        task: its network has neither yet.
        surveys: by device, in any order: they are taken by lane and device, so the result is a function
            of the set.
        rule: how they are merged, one of `RULES`.
        clip: the bound on standardized inputs, in standard deviations; for `CLIPPED`, and perhaps `EXACT`.

    Raises:
        ValueError: there is no survey, the network is already standardized, or rule and bound disagree.
    """
    if (clip is not None) != (rule == CLIPPED) and rule != EXACT:
        raise ValueError(f"the rule {rule} does not go with a bound of {clip}")
    if not surveys:
        raise ValueError("nothing to standardize with: no device was surveyed")
    ordered, merge = [measured for _, measured in _ordered(surveys)], RULES[rule]
    features = merge([measured.features for measured in ordered])
    first = _frozen(Standardize, features)
    if clip is not None or rule == EXACT:
        first = Standardize(mean=first.mean, scale=first.scale, clip=clip, rest=_rest(features))
    layers: tuple[LayerSpec, ...] = (first, *task.network.layers)
    columns = list(zip(task.features, features.count, strict=True))
    if task.targets is not None:
        merge = robust if rule == EXACT else merge  # devices keep targets in float32
        targets = merge([measured.targets for measured in ordered if measured.targets is not None])
        layers = (*layers, _frozen(Rescale, targets))
        columns += zip(task.targets, targets.count, strict=True)
    if unmeasured := tuple(name for name, count in columns if count == 0):
        return Unmeasured(unmeasured)
    # Built anew and not by `model_copy`, which would skip the checks.
    network = type(task.network)(inputs=task.network.inputs, layers=layers, loss=task.network.loss)
    return Task.model_validate({**dict(task), "network": network})


def outliers(surveyed: Task, surveys: Mapping[str, Measured]) -> tuple[Outlying, ...]:
    """The devices that lie far from the frozen layers of `surveyed`, by column, the farthest first."""
    first, last = surveyed.network.first, surveyed.network.last
    assert first is not None
    ordered = _ordered(surveys)
    found = outlying(
        [(device, measured.features) for device, measured in ordered],
        surveyed.features,
        first.exact_means,
        first.scales.astype(np.float64),
        fine_columns(surveyed.network),
    )
    if last is not None and surveyed.targets is not None:
        targets = [(device, one.targets) for device, one in ordered if one.targets is not None]
        means, scales = last.means.astype(np.float64), last.scales.astype(np.float64)
        found += outlying(targets, surveyed.targets, means, scales)
    return found


def _ordered(surveys: Mapping[str, Measured]) -> list[tuple[str, Measured]]:
    return sorted(surveys.items(), key=lambda item: (lane_of(item[0]), item[0]))


def _frozen(layer: type[Affine], columns: Columns) -> Affine:
    return layer(mean=columns.mean.astype("<f4").tobytes(), scale=_scale(columns).astype("<f4").tobytes())


def _rest(columns: Columns) -> bytes | None:
    """The rounding error of float32 in the means of columns that are too fine for it; None: there are none.

    It may be as much as 2⁻²⁴ |mean|, which is many spreads of such a column.
    """
    if columns.fine is None or not columns.fine.any():
        return None
    rest = np.where(columns.fine, columns.mean - columns.mean.astype(np.float32), 0.0)
    return rest.astype("<f4").tobytes()


def _scale(columns: Columns) -> NDArray[np.float64]:
    """The standard deviation of each column, or 1 where it is nothing but rounding.

    The layer computes (x - mean) / σ in float32, where x and mean are each off by up to half a unit,
    2⁻²⁴ |mean|. Below 8 units it would scale rounding errors up to the size of signal (`is_constant`). Such a
    column gets scale 1, as a constant one does in scikit-learn's StandardScaler, or, where a unit itself is
    large (|mean| > 10⁶), those 8 units: the rest of a constant column is then never more than about 1 and
    cannot drown the other features. A column that is too fine for float32 is divided by what it spreads.
    """
    floor = ROUNDING_UNITS * float(np.finfo(np.float32).eps) * np.abs(columns.mean)
    constant = is_constant(columns.mean, columns.spread)
    if columns.fine is not None:
        constant &= ~columns.fine
    return np.where(constant, np.maximum(floor, 1.0), columns.spread)
