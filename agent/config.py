"""What a device's owner says in `agent.toml`: who it is, where the broker and the data are."""

import logging
import re
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    model_serializer,
    model_validator,
)

from agent.hours import Hours, read_hours
from fedge.device_names import as_id, renamed
from fedge.messages import SOURCE_NAME
from fedge.plan import MAX_EPOCHS
from fedge.provisioning import PORT
from fedge.settings import BrokerSettings, FileSettings, LocalPath, Section, number_of
from fedge.topics import DEVICE_ID, FEDERATION

log = logging.getLogger("fedge.agent")

Missing = Literal["refuse", "drop", "fill"]
UnknownLabels = Literal["refuse", "drop"]
By = Literal["time", "every", "random", "series"]
MAX_LABELS = 10_000
DAYS = re.compile(r"[1-9][0-9]{0,4} days?")
MAX_MISSING_VALUES = 100
DEFAULT_SOURCE = "data"
"""The name of the source that `[data]` describes; further ones are called as their `[sources.NAME]`."""
LABEL = "label"
"""What the column of class names is called where the owner does not say."""


def _hours(text: object) -> Any:
    return text if text is None or isinstance(text, Hours) else read_hours(text)


def _between(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lowest value comes first, got {list(bounds)}")
    return bounds


Finite = Annotated[float, Field(allow_inf_nan=False)]
Between = Annotated[tuple[Finite, Finite], AfterValidator(_between)]
"""The lowest and the highest value."""


def _readings(value: object) -> object:
    items = value if isinstance(value, list | tuple) else [value]
    if any(isinstance(item, bool) or not isinstance(item, int | float | str) for item in items):
        raise ValueError('must be numbers and texts in a list, such as [-9999, "unavailable"]')
    if any(isinstance(item, float) and not isfinite(item) for item in items):
        raise ValueError("must be finite numbers; NaN is missing whatever stands here")
    if len(items) > MAX_MISSING_VALUES:
        raise ValueError(f"must be at most {MAX_MISSING_VALUES}")
    return items


def _newest(value: object) -> object:
    value = number_of(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if not isinstance(value, str) or DAYS.fullmatch(value) is None:
        raise ValueError('must be a number of rows, or of days in words: 100000 or "30 days"')
    return str(value)


class Holdout(Section):
    """`[data] holdout`: which rows are kept for evaluation, and never trained on."""

    part: float = Field(default=0.2, ge=0, lt=0.9, allow_inf_nan=False)
    """How much is held out, as a share of the rows; 0: nothing."""
    by: By = "time"
    """Which rows: `time`, the last of each series; `every` fifth row, where the part is 0.2; `random` ones;
    or whole `series`."""

    @model_serializer
    def _as_written(self) -> Any:
        """A number as long as that says it all, as it was written before there was a choice."""
        return self.part if self.by == "time" else {"part": self.part, "by": self.by}


def _holdout(value: object) -> object:
    """`holdout = 0.2` is short for `{ part = 0.2 }`."""
    if value is None or isinstance(value, dict | Holdout):
        return value
    try:
        return Holdout.model_validate({"part": number_of(value)})
    except ValidationError as error:  # the owner has written no `part`
        raise ValueError(error.errors()[0]["msg"]) from None


class DataSettings(Section):
    """What the sections of all sources share: how samples are chosen and divided.

    What is None was not said by the owner: the task may propose it, and there is a default for it
    (`agent.rules`).
    """

    missing: Missing | None = None
    """What happens to a row with a missing value: `refuse` the data naming file and row, `drop` the row, or
    `fill` a feature with the survey's mean (a row without an answer is dropped). Without it: refuse."""
    holdout: Annotated[Holdout | None, BeforeValidator(_holdout)] = None
    """The part of each series that is kept for evaluation, its last by time; or a table of `part` and `by`,
    which is time, every, random or series. Without it: 0.2 by time."""
    gap: int | None = Field(default=None, ge=0, le=1_000_000)
    """Rows dropped between the training and the held-out part, where windows of a recording overlap. Without
    it: 0."""
    accept_rules: bool = True
    """Whether the task's proposals count for `missing`, `holdout`, `gap` and `unknown_labels` where they are
    not set here; false: what is not set has its default."""
    minimum: int = Field(default=20, ge=20)
    """The fewest training samples to take part with; a survey never describes fewer than 20."""
    labels: dict[str, str] = Field(default_factory=dict, max_length=MAX_LABELS)
    """The class that is meant by a text in the data: `{ Walk = "walk", sitting = "sit" }`."""
    unknown_labels: UnknownLabels | None = None
    """What happens to a row whose class the task does not know: `refuse` the data naming file and row, or
    `drop` the row. Without it: refuse."""
    first_class: int | None = Field(default=None, ge=0, le=1)
    """The number of the first class, where labels are whole numbers: 0 or 1. Without it: 0, and data whose
    numbers run from 1 to the number of classes are refused."""
    newest: Annotated[Annotated[int, Field(ge=20, le=2**53)] | str | None, BeforeValidator(_newest)] = None
    """Only the last so many rows are used, in the order of the data: 100000; or, where there is `time`, those
    of the last days: "30 days", counted from the newest row that
    does not lie in the future. Older ones are not kept in memory."""
    range: dict[str, Between] = Field(default_factory=dict)
    """Between which values a column's can be true, by its name: `{ temperature = [-40, 85] }`. What lies
    outside is a missing value."""
    tell_classes: bool = False
    """Whether surveys tell the names of this device's classes, and how many training rows there are of each,
    rounded; of a class with fewer than 5 rows nothing."""
    missing_values: Annotated[tuple[float | str, ...], BeforeValidator(_readings)] = ()
    """Numbers and texts that stand for a missing value, whatever the column:
    `[-9999, 65535, "unavailable"]`."""


class CsvSettings(DataSettings):
    """`[data] source = "csv"`: text with a header line, or with `columns`."""

    source: Literal["csv"]
    """Where samples come from."""
    path: LocalPath
    """One CSV file, or a folder whose *.csv are read in the order of their names."""
    files: str | None = Field(default=None, min_length=1, pattern=r"^[^/\\\x00]+$")
    """Which files of the folder are read instead, as a pattern of their names: `"data.csv*"` for a log
    that is rotated. Those of one log are one recording, the oldest first; compressed ones are not read."""
    label: str = Field(default=LABEL, min_length=1)
    """The column of class names, for a classification; a regression's targets are columns by their names."""
    series: str | None = Field(default=None, min_length=1)
    """The column naming the recording a row belongs to; without it each file is one."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The columns' names in order, for files without a header line; one that repeats them is skipped."""
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    """What stands between cells, one character: ",", ";", a tab, "|"; " " is any run of spaces and tabs.
    Without it the file's first lines tell."""
    decimal: Literal[".", ","] | None = None
    """The sign before the fraction of a number. Without it the cells tell, or the column cannot be used."""
    thousands: Literal[".", ",", " ", "'", "’", "\u00a0", "\u202f"] | None = None
    """The sign between groups of three digits."""
    skip: int = Field(default=0, ge=0, le=10_000)
    """Lines at the top of each file that are neither header nor rows."""
    comment: str | None = Field(default=None, min_length=1)
    """What the lines begin with that are no rows; the last one before the rows may hold the names."""
    units_row: bool | None = None
    """Whether the line below the header holds units. Without it the file's first lines tell."""
    time: str | None = Field(default=None, min_length=1)
    """The column by which rows are put in order: ISO 8601, or seconds, ms, µs or ns since 1970."""
    max_bad: float = Field(default=0.05, ge=0, lt=1, allow_inf_nan=False)
    """The share of lines that may be left out because they cannot be read; more, and the device declines."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.newest, str) and self.time is None:
            raise ValueError("newest: days are told by a column of times: name it in time")
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError("thousands: is the decimal sign; they differ")
        if self.separator in ('"', "\n", "\r"):
            raise ValueError("separator: cannot be a quote or the end of a line")
        columns = self.columns
        if columns is not None:
            if any(name != name.strip() or not name for name in columns) or len(set(columns)) != len(columns):
                raise ValueError("columns: every name differs, is not empty, and has no space around it")
            if self.series is not None and self.series not in columns:
                raise ValueError(f"series: there is no {self.series!r} among the columns")
            if self.time is not None and self.time not in columns:
                raise ValueError(f"time: there is no {self.time!r} among the columns")
        return self


class ArraySettings(DataSettings):
    """What sections of arrays share, whose rows have no time."""

    newest: int | None = Field(default=None, ge=20, le=2**53)
    """Only the last so many rows are used."""


class NpzSettings(ArraySettings):
    """`[data] source = "npz"`: arrays `X`, `y`, and optionally `series` and `features` (column names)."""

    source: Literal["npz"]
    """Where samples come from."""
    path: LocalPath
    """One NumPy archive, as written by numpy.savez."""


class PythonSettings(ArraySettings):
    """`[data] source = "python"`: a function of the owner's."""

    source: Literal["python"]
    """Where samples come from."""
    callable: str = Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$")
    """`module:function`; called without arguments before each round, it returns (X, y) or (X, y, series)."""
    path: LocalPath | None = None
    """A folder to look for the module in, besides the installed packages."""


class TrustSettings(Section):
    """`[trust]`: whose models are taken."""

    key: LocalPath | None = None
    """PEM file of the public key that announcements must be signed with; without it any is taken."""


AnySource = Annotated[CsvSettings | NpzSettings | PythonSettings, Field(discriminator="source")]


class LimitsSettings(Section):
    """`[limits]`: the most a federation may ask of this device; a round that asks for more is declined."""

    epochs: int | None = Field(default=None, ge=1, le=MAX_EPOCHS)
    """The most epochs in a round."""
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """The longest training in a round, in seconds; it is ended then, or earlier if it is far too slow."""
    bytes_per_day: int | None = Field(default=None, ge=1)
    """The most bytes sent and received in a day, as MQTT topics and payloads."""
    sources: tuple[str, ...] | None = None
    """The names of the sources that may be used; `[data]` is called data. Without it: all that are here."""


class MannersSettings(Section):
    """`[manners]`: when this device takes up work; otherwise it declines, and looks again every 30 s."""

    hours: Annotated[Hours | None, BeforeValidator(_hours)] = None
    """Only within these hours of the device's own time zone, over midnight too: "22:00-06:00"."""
    mains: bool = False
    """Only on mains power: not while a battery is being discharged."""
    temperature_c: float | None = Field(default=None, gt=0, le=150, allow_inf_nan=False)
    """Only below this temperature of the processor, in degrees Celsius."""
    load: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Only while the load average of the last minute, divided by the number of cores, is not above this."""


class StateSettings(Section):
    """`[state]`: what must survive a restart."""

    folder: LocalPath = Path("state")
    """The folder for the saved update and the newest model; one for each agent."""


class PredictSettings(Section):
    """`[predict]`: which model `fedge-agent predict` uses."""

    tolerance: float | None = Field(default=None, ge=0, le=10, allow_inf_nan=False)
    """By how much a new model may be worse than the one in use, on this device's held-out rows, and still
    take its place: 0.05 is five points of accuracy, or an RMSE 5 % larger. Without it every one does."""


class RenewalSettings(Section):
    """`[renewal]`: how the certificate is renewed, by `fedge-agent renew`."""

    port: int = Field(default=PORT, ge=1, le=65_535)
    """The broker's listener for those who ask for a certificate."""
    password_file: LocalPath = Path("renewal.password")
    """A file whose first line is the password for it."""


class TrainerSettings(Section):
    """`[trainer]`: the thread that reads the data and trains."""

    patience_s: float = Field(default=600.0, gt=0, le=7 * 86_400, allow_inf_nan=False)
    """The longest that reading the data, or one step of training, may take, in seconds. Beyond it the agent
    counts as stuck, and the service manager starts it again."""


def _device(name: object) -> object:
    """The id of what the device is called here; told where it is another."""
    if not isinstance(name, str):
        return name
    for sentence in renamed([name]):
        log.warning("device: %s", sentence)
    return as_id(name)


class AgentSettings(FileSettings):
    """The whole of `agent.toml`."""

    ENV_PREFIX: ClassVar[str] = "FEDGE_AGENT_"

    federation: str = Field(pattern=FEDERATION)
    """The federation's name: at most 31 lower-case letters, digits and hyphens."""
    device: Annotated[str, BeforeValidator(_device), Field(pattern=DEVICE_ID)]
    """This device's name, no other's in the federation: at most 36 lower-case letters, digits and hyphens."""
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    """Where the MQTT broker is."""
    data: AnySource
    """Where this device's samples are; its `source` is csv, npz or python."""
    sources: dict[Annotated[str, Field(pattern=SOURCE_NAME)], AnySource] = Field(default_factory=dict)
    """More samples of this device, `[sources.NAME]` each, for federations that ask for them by name."""
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    """The most that a federation may ask."""
    manners: MannersSettings = Field(default_factory=MannersSettings)
    """When this device takes up work."""
    trainer: TrainerSettings = Field(default_factory=TrainerSettings)
    """The thread that trains."""
    predict: PredictSettings = Field(default_factory=PredictSettings)
    """Which model `predict` uses."""
    renewal: RenewalSettings = Field(default_factory=RenewalSettings)
    """How the certificate is renewed."""
    state: StateSettings = Field(default_factory=StateSettings)
    """What must survive a restart."""
    trust: TrustSettings = Field(default_factory=TrustSettings)
    """Whose models are taken."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if DEFAULT_SOURCE in self.sources:
            raise ValueError(f"[sources.{DEFAULT_SOURCE}]: is the name of [data]; give it another")
        for name in self.limits.sources or ():
            if name not in self.offered:
                here = ", ".join(self.offered)
                raise ValueError(f"[limits] sources: there is no source {name!r} here; there is {here}")
        return self

    @property
    def offered(self) -> dict[str, CsvSettings | NpzSettings | PythonSettings]:
        """All sources of this device by name, the default one first."""
        return {DEFAULT_SOURCE: self.data, **self.sources}
