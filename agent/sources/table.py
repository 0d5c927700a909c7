"""One table of one file, with its rows, before all tables of a device are joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.sources.columns import Columns
from fedge.errors import DataError

KEYS = {"_field": "_value", "entity_id": "state"}
"""Columns of InfluxDB and Home Assistant that say what the row measures, and the column of the value."""


@dataclass(frozen=True)
class Table:
    """One table of one file, with rows."""

    file: Path
    columns: Columns
    nameless: DataError | None
    """The error to raise if the header looks like data; None: it does not."""

    def at(self, line: int) -> str:
        """Name a line of the file, for messages to the owner."""
        return f"{self.file}: line {line}"


def key_of(names: Sequence[str]) -> str | None:
    """Return the column that says what is measured in each row, if there is one."""
    return next((key for key, value in KEYS.items() if key in names and value in names), None)
