"""What an owner says of how files are written; what is not said is found out from each file."""

from dataclasses import dataclass, replace

from agent.settings.sources import CsvSettings


@dataclass(frozen=True)
class Said:
    """The keys of `[data]` about the form of files; None: look into the file."""

    separator: str | None = None
    """Between cells, one character; a space stands for any run of spaces and tabs."""
    decimal: str | None = None
    """Before the fraction of a number: "." or ","."""
    thousands: str | None = None
    """Between groups of three digits."""
    skip: int = 0
    """Lines at the top of each file that are neither header nor rows."""
    comment: str | None = None
    """What lines begin with that are no rows."""
    units_row: bool | None = None
    """Whether the line below the header holds units."""
    missing_values: tuple[float | str, ...] = ()
    """Further texts that mean "no reading"; the numbers among them are left to `agent.sources.exclusions`."""
    time: str | None = None
    """The column by which rows are put in order."""
    max_bad: float = 0.05
    """The share of lines that may be left out because they cannot be read."""

    @classmethod
    def of(cls, settings: CsvSettings) -> "Said":
        """What `[data]` says, but for numbers that mean "no reading": `agent.sources.exclusions` takes and
        counts them, of all sources alike."""
        return cls(
            separator=settings.separator,
            decimal=settings.decimal,
            thousands=settings.thousands,
            skip=settings.skip,
            comment=settings.comment,
            units_row=settings.units_row,
            missing_values=tuple(value for value in settings.missing_values if isinstance(value, str)),
            time=settings.time,
            max_bad=settings.max_bad,
        )

    def row_by_row(self) -> "Said":
        """The same, where rows are counted: none is left out, and none changes its place."""
        return replace(self, time=None, max_bad=0.0)


NOTHING = Said()
"""Nothing is said: files tell."""
