"""The owner's settings about the form of files. What is not set is detected in each file."""

from dataclasses import dataclass, replace

from agent.settings.sources import CsvSettings


@dataclass(frozen=True)
class FormSettings:
    """The keys of `[data]` about the form of files; None: detect it in the file."""

    separator: str | None = None
    """The character between cells; a space stands for any run of spaces and tabs."""
    decimal: str | None = None
    """The decimal sign: "." or ","."""
    thousands: str | None = None
    """The sign between groups of three digits."""
    skip: int = 0
    """Lines at the top of each file that are neither header nor rows."""
    comment: str | None = None
    """The beginning of lines that are comments, not rows."""
    units_row: bool | None = None
    """Whether the line below the header holds units."""
    missing_values: tuple[float | str, ...] = ()
    """Further texts that mean "no reading"; the numbers among them are left to `agent.sources.exclusions`."""
    time: str | None = None
    """The column by which rows are put in order."""
    max_bad: float = 0.05
    """The share of lines that may be left out because they cannot be read."""

    @classmethod
    def of(cls, settings: CsvSettings) -> "FormSettings":
        """The settings of `[data]`, except numbers that mean "no reading": `agent.sources.exclusions` handles
        and counts these for all sources."""
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

    def row_by_row(self) -> "FormSettings":
        """Return these settings for a file whose rows are counted: no row is left out or moved."""
        return replace(self, time=None, max_bad=0.0)


NOTHING = FormSettings()
"""Nothing is set: everything is detected in the files."""
