"""The rows of a text file, in blocks of one table each, under the header of that table."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from agent.sources.content import Content
from agent.sources.header import looks_like_data, looks_like_number
from agent.sources.records import Bad

COMPLETE = "complete or delete the line"
"""The advice for a row whose number of cells differs from the number of names."""
Row = tuple[int, list[str]]
"""The line in which the row begins, counted from 1, and its cells, as many as the header has."""


@dataclass(frozen=True, eq=False)
class Header:
    """The names of a table's columns, as they are in the file. Some may be empty or occur twice."""

    line: int
    names: tuple[str, ...]

    @cached_property
    def first(self) -> int:
        """The position of the first name that is a word; -1: there is none, or the names look like values."""
        words = (k for k, name in enumerate(self.names) if name and not looks_like_number(name))
        return -1 if looks_like_data(self.names) else next(words, -1)


class TableReader(Protocol):
    """The rows of a file, in blocks. The skipped lines are known after the last block."""

    @property
    def first_bad(self) -> Bad | None:
        """The first line that was left out."""

    @property
    def bad(self) -> int:
        """The number of lines left out because they cannot be read."""

    def blocks(self, size: int) -> Iterator[tuple[Header, list[Row]]]:
        """Iterate over blocks of at most `size` rows of one table. Each header begins with an empty block."""

    def go_on(self, content: Content, start: int, has_quotes: bool) -> bool:
        """Let `blocks` continue with the new part; return whether it can."""

    def passed_over(self) -> tuple[str, ...]:
        """Describe the lines that were not rows, for the owner."""
