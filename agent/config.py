"""What a device's owner says in `agent.toml`: who it is, where the broker and the data are."""

import logging
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from agent.hours import Hours, read_hours
from fedge.device_names import as_id, renamed
from fedge.messages import SOURCE_NAME
from fedge.plan import MAX_EPOCHS
from fedge.provisioning import PORT
from fedge.settings import BrokerSettings, FileSettings, LocalPath, Section
from fedge.topics import DEVICE_ID

log = logging.getLogger("fedge.agent")

Missing = Literal["refuse", "drop", "fill"]
DEFAULT_SOURCE = "data"
"""The name of the source that `[data]` describes; further ones are called as their `[sources.NAME]`."""


def _hours(text: object) -> Any:
    return text if text is None or isinstance(text, Hours) else read_hours(text)


class DataSettings(Section):
    """What the sections of all sources share: how samples are chosen and divided."""

    missing: Missing = "refuse"
    """What happens to a row with a missing value: `refuse` the data naming file and row, `drop` the row, or
    `fill` a feature with the survey's mean (a row without an answer is dropped)."""
    holdout: float = Field(default=0.2, ge=0, lt=0.9, allow_inf_nan=False)
    """The part of each series, its last by time, that is kept for evaluation."""
    gap: int = Field(default=0, ge=0, le=1_000_000)
    """Rows dropped between the training and the held-out part, where windows of a recording overlap."""
    minimum: int = Field(default=20, ge=20)
    """The fewest training samples to take part with; a survey never describes fewer than 20."""


class CsvSettings(DataSettings):
    """`[data] source = "csv"`: text with a header line, or with `columns`."""

    source: Literal["csv"]
    """Where samples come from."""
    path: LocalPath
    """One CSV file, or a folder whose *.csv are read in the order of their names."""
    label: str = Field(default="label", min_length=1)
    """The column of class names, for a classification; a regression's targets are columns by their names."""
    series: str | None = Field(default=None, min_length=1)
    """The column naming the recording a row belongs to; without it each file is one."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The columns' names in order, for files without a header line; one that repeats them is skipped."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        columns = self.columns
        if columns is not None:
            if any(name != name.strip() or not name for name in columns) or len(set(columns)) != len(columns):
                raise ValueError("columns: every name differs, is not empty, and has no space around it")
            if self.series is not None and self.series not in columns:
                raise ValueError(f"series: there is no {self.series!r} among the columns")
        return self


class NpzSettings(DataSettings):
    """`[data] source = "npz"`: arrays `X`, `y`, and optionally `series` and `features` (column names)."""

    source: Literal["npz"]
    """Where samples come from."""
    path: LocalPath
    """One NumPy archive, as written by numpy.savez."""


class PythonSettings(DataSettings):
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

    federation: str = Field(pattern=DEVICE_ID)
    """The federation's name: at most 31 lower-case letters, digits and hyphens."""
    device: Annotated[str, BeforeValidator(_device), Field(pattern=DEVICE_ID)]
    """This device's name, no other's in the federation: at most 31 lower-case letters, digits and hyphens."""
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
