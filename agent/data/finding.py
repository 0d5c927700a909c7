"""One finding about a device's data, for its owner. It may name labels, files and columns."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One finding about the data."""

    kind: str
    """The kind of finding, for programs."""
    what: str
    """The finding in words. If it concerns a column, the column is the subject of this text."""
    column: str | None = None
    """The column that it concerns."""
    count: int | None = None
    """How many rows or values it concerns."""
    first: str | None = None
    """Where the first of them is: `data/a.csv: line 7`; for a cell that cannot be read, also the reason."""
    remedy: str | None = None
    """What the owner can do."""

    def __str__(self) -> str:
        about = f"column {self.column!r} {self.what}" if self.column is not None else self.what
        where = f", first: {self.first}" if self.first is not None and self.count != 1 else ""
        where = f" ({self.first})" if self.first is not None and self.count == 1 else where
        return f"{about}{where}{f'; {self.remedy}' if self.remedy else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for programs, without the fields that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}
