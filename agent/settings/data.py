"""The keys that the sections of all sources in `agent.toml` share."""

import re
from math import isfinite
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_serializer

from fedge.service.settings import Section, number_of

Missing = Literal["refuse", "drop", "fill"]
UnknownLabels = Literal["refuse", "drop"]
By = Literal["time", "every", "random", "series"]
MAX_LABELS = 10_000
DAYS = re.compile(r"[1-9][0-9]{0,4} days?")
MAX_MISSING_VALUES = 100


def _between(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"must have the lowest value first, got {list(bounds)}")
    return bounds


Finite = Annotated[float, Field(allow_inf_nan=False)]
Between = Annotated[tuple[Finite, Finite], AfterValidator(_between)]
"""The lowest and the highest value."""


def _readings(value: object) -> object:
    items = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(item, bool) or not isinstance(item, int | float | str) for item in items):
        raise ValueError('must be numbers and texts in a list, such as [-9999, "unavailable"]')
    if any(isinstance(item, float) and not isfinite(item) for item in items):
        raise ValueError("must be finite numbers; NaN always counts as missing")
    if len(items) > MAX_MISSING_VALUES:
        raise ValueError(f"must be at most {MAX_MISSING_VALUES} values, got {len(items)}")
    return items


def _newest(value: object) -> object:
    value = number_of(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isinstance(value, str) or DAYS.fullmatch(value) is None:
        raise ValueError('must be a number of rows, such as 100000, or of days, such as "30 days"')
    return str(value)


class Holdout(Section):
    """`[data] holdout`: which rows are kept for evaluation, and never trained on."""

    part: float = Field(default=0.2, ge=0, lt=0.9, allow_inf_nan=False)
    """How much is held out, as a share of the rows; 0: nothing."""
    by: By = "time"
    """Which rows are held out: `time`, the last rows of each series; `every`, each fifth row if the part is
    0.2; `random`, random rows; `series`, whole series."""

    @model_serializer
    def _as_written(self) -> Any:
        """Write only the number if `by` has its default, which is the form from before `by` existed."""
        return self.part if self.by == "time" else {"part": self.part, "by": self.by}


def _holdout(value: object) -> object:
    """Read `holdout = 0.2` as `{ part = 0.2 }`."""
    if value is None or isinstance(value, dict | Holdout):
        return value
    try:
        return Holdout.model_validate({"part": number_of(value)})
    except ValidationError as error:  # the owner has written no `part`
        raise ValueError(error.errors()[0]["msg"]) from None


class DataSettings(Section):
    """The keys that the sections of all sources share: how samples are chosen and divided.

    None: the owner has not set the key. The task may propose a value, and there is a default
    (`agent.data.rules`).
    """

    missing: Missing | None = None
    """What happens to a row with a missing value: `refuse` the data naming file and row, `drop` the row, or
    `fill` a feature with the survey's mean (a row without an answer is dropped). Without it: refuse."""
    holdout: Annotated[Holdout | None, BeforeValidator(_holdout)] = None
    """The part of each series that is kept for evaluation, its last by time; or a table of `part` and `by`,
    where `by` is time, every, random or series. Without it: 0.2 by time."""
    gap: int | None = Field(default=None, ge=0, le=1_000_000)
    """Rows dropped between the training and the held-out part, where windows of a recording overlap. Without
    it: 0."""
    accept_rules: bool = True
    """Whether the task's proposals apply to `missing`, `holdout`, `gap` and `unknown_labels` where these are
    not set here; false: keys that are not set have their defaults."""
    minimum: int = Field(default=20, ge=20)
    """The device takes part only with at least this many training samples; a survey never describes fewer
    than 20."""
    labels: dict[str, str] = Field(default_factory=dict, max_length=MAX_LABELS)
    """The class that each text in the data stands for: `{ Walk = "walk", sitting = "sit" }`."""
    unknown_labels: UnknownLabels | None = None
    """What happens to a row whose class the task does not know: `refuse` the data naming file and row, or
    `drop` the row. Without it: refuse."""
    first_class: int | None = Field(default=None, ge=0, le=1)
    """The number of the first class, where labels are whole numbers: 0 or 1. Without it: 0, and data whose
    numbers run from 1 to the number of classes are refused."""
    newest: Annotated[Annotated[int, Field(ge=20, le=2**53)] | str | None, BeforeValidator(_newest)] = None
    """Use only the last rows, in the order of the data: 100000; or, with `time`, those of the last days:
    "30 days", counted back from the newest row that is not in the future. Older rows are not kept in
    memory."""
    range: dict[str, Between] = Field(default_factory=dict)
    """The range of possible values of a column, by its name: `{ temperature = [-40, 85] }`. A value outside
    it counts as missing."""
    tell_classes: bool = False
    """Whether surveys report the names of this device's classes, and the rounded number of training rows of
    each. Classes with fewer than 5 rows are not reported."""
    missing_values: Annotated[tuple[float | str, ...], BeforeValidator(_readings)] = ()
    """Numbers and texts that stand for a missing value in any column:
    `[-9999, 65535, "unavailable"]`."""
