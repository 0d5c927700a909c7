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
"""The line that it begins in, counted from 1, and its cells, as many as the header has."""


@dataclass(frozen=True, eq=False)
class Header:
    """The names of a table's columns, as they are in the file: some may be empty or occur twice."""

    line: int
    names: tuple[str, ...]

    @cached_property
    def first(self) -> int:
        """The place of the first name that is a word; -1: numbers are no names that a row would repeat."""
        words = (k for k, name in enumerate(self.names) if name and not looks_like_number(name))
        return -1 if looks_like_data(self.names) else next(words, -1)


class TableReader(Protocol):
    """The rows of a file, in blocks; what was skipped is known after the last block."""

    @property
    def first_bad(self) -> Bad | None:
        """The first line that was left out."""

    @property
    def bad(self) -> int:
        """Lines left out because they cannot be read."""

    def blocks(self, size: int) -> Iterator[tuple[Header, list[Row]]]:
        """At most `size` rows each, of one table; an empty block for each header that is met."""

    def go_on(self, content: Content, start: int, has_quotes: bool) -> bool:
        """Let `blocks` continue with the new part; return whether it can."""

    def passed_over(self) -> tuple[str, ...]:
        """What was no row, for the owner."""
