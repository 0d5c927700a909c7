"""`[data]` and `[sources.NAME]` of `agent.toml`: one class for each kind of source."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from agent.settings.data import DataSettings
from fedge.service.settings import LocalPath

DEFAULT_SOURCE = "data"
"""The name of the source that `[data]` describes; `[sources.NAME]` names each other source."""
LABEL = "label"
"""The name of the column of class names, if the owner does not set it."""
CALLABLE = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
"""`module:function`."""


class CsvSettings(DataSettings):
    """`[data] source = "csv"`: text with a header line, or with `columns`."""

    source: Literal["csv"]
    """Where samples come from."""
    path: LocalPath
    """One CSV file, or a folder whose *.csv are read in the order of their names."""
    files: str | None = Field(default=None, min_length=1, pattern=r"^[^/\\\x00]+$")
    """A pattern of the names of the files to read instead: `"data.csv*"` for a log that is rotated. The files
    of one log form one recording, the oldest first; compressed files are not read."""
    label: str = Field(default=LABEL, min_length=1)
    """The column of class names, for a classification. A regression names its target columns in the task."""
    series: str | None = Field(default=None, min_length=1)
    """The column that names the recording of each row; without it each file is one recording."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """The columns' names in order, for files without a header line. A first line that repeats them is
    skipped."""
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    """The character between cells: ",", ";", a tab, "|"; " " is any run of spaces and tabs. Without it the
    file's first lines decide."""
    decimal: Literal[".", ","] | None = None
    """The decimal sign. Without it the cells decide; a column whose cells are ambiguous cannot be used."""
    thousands: Literal[".", ",", " ", "'", "’", "\u00a0", "\u202f"] | None = None
    """The sign between groups of three digits."""
    skip: int = Field(default=0, ge=0, le=10_000)
    """Lines at the top of each file that are neither header nor rows."""
    comment: str | None = Field(default=None, min_length=1)
    """The characters that begin a comment line. The last comment before the rows may hold the columns'
    names."""
    units_row: bool | None = None
    """Whether the line below the header holds units. Without it the file's first lines decide."""
    time: str | None = Field(default=None, min_length=1)
    """The column of times by which rows are sorted: ISO 8601, or seconds, ms, µs or ns since 1970."""
    max_bad: float = Field(default=0.05, ge=0, lt=1, allow_inf_nan=False)
    """The largest share of lines that may be left out as unreadable. Above it the device declines."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if isinstance(self.newest, str) and self.time is None:
            raise ValueError("newest: days need a column of times: name it in time")
        if self.decimal is not None and self.decimal == self.thousands:
            raise ValueError("thousands: must not be the decimal sign")
        if self.separator in ('"', "\n", "\r"):
            raise ValueError("separator: must not be a quote or the end of a line")
        columns = self.columns
        if columns is not None:
            if any(name != name.strip() or not name for name in columns) or len(set(columns)) != len(columns):
                raise ValueError(
                    "columns: the names must be different, not empty, and without spaces around them"
                )
            if self.series is not None and self.series not in columns:
                raise ValueError(f"series: there is no {self.series!r} among the columns")
            if self.time is not None and self.time not in columns:
                raise ValueError(f"time: there is no {self.time!r} among the columns")
        return self


class ArraySettings(DataSettings):
    """The keys that sections of array sources share. Rows of arrays have no time."""

    newest: int | None = Field(default=None, ge=20, le=2**53)
    """Use only this many of the last rows."""


class NpzSettings(ArraySettings):
    """`[data] source = "npz"`: arrays `X`, `y`, and optionally `series` and `features` (column names)."""

    source: Literal["npz"]
    """Where samples come from."""
    path: LocalPath
    """One NumPy archive, as written by numpy.savez."""


class PythonSettings(ArraySettings):
    """`[data] source = "python"`: a function of the owner."""

    source: Literal["python"]
    """Where samples come from."""
    callable: str = Field(pattern=CALLABLE)
    """`module:function`; called without arguments before each round, it returns (X, y) or (X, y, series)."""
    path: LocalPath | None = None
    """A folder that is searched for the module, after the installed packages."""


AnySource = Annotated[CsvSettings | NpzSettings | PythonSettings, Field(discriminator="source")]
