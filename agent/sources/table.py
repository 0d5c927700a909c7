"""One table of one file, with its rows, before all tables of a device become one."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.sources.columns import Columns
from fedge.errors import DataError

KEYS = {"_field": "_value", "entity_id": "state"}
"""Columns of InfluxDB and Home Assistant that say what another column holds in the row."""


@dataclass(frozen=True)
class Table:
    """One table of one file, with rows."""

    file: Path
    columns: Columns
    nameless: DataError | None
    """The message to give if the header looks like data."""

    def at(self, line: int) -> str:
        """A line of it, for its owner."""
        return f"{self.file}: line {line}"


def key_of(names: Sequence[str]) -> str | None:
    """The column that says what is measured in each row, if there is one."""
    return next((key for key, value in KEYS.items() if key in names and value in names), None)
