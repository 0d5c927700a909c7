"""One text file: its form, how its numbers are written, its tables, and what is appended to it later."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from agent.sources.columns import Absence, Columns
from agent.sources.content import Content
from agent.sources.csv_tables import CsvTables
from agent.sources.decimals import Decision, Evidence, Style, decide, set_style
from agent.sources.dialect import HEAD, Dialect, detect
from agent.sources.form_settings import FormSettings
from agent.sources.growth import Growth
from agent.sources.header import looks_like_data, nameless
from agent.sources.jsonlines import JsonTables
from agent.sources.preambles import Form
from agent.sources.records import Bad
from agent.sources.table import Table, key_of
from agent.sources.table_reader import Header, Row, TableReader
from agent.sources.times import NONE_YET, Last

BLOCK = 4_096
"""The number of rows that are in memory as text at a time."""
Proofs = list[tuple[Header, dict[int, Evidence]]]
"""For each table the evidence of how its numbers are written."""


@dataclass(frozen=True)
class Wanted:
    """The settings that are the same for every file of a source."""

    label: str | None
    series: str | None
    columns: tuple[str, ...] | None
    form: FormSettings
    exact: bool = False
    """Whether the rounding of float32 is kept for all columns."""

    def tables(self, content: Content, has_quotes: bool, dialect: Dialect) -> TableReader:
        """Return a reader for the tables of a file."""
        if dialect.form is Form.JSON_LINES:
            return JsonTables(content.file, content, dialect.skip, {self.label, self.series})
        return CsvTables(content.file, content, has_quotes, dialect, self.columns)

    def dialect(self, content: Content) -> Dialect:
        """Detect how a file is written.

        Raises:
            DataError: the file is not CSV; or two separators fit, and give different values.
        """
        return detect(content.file, content.head(HEAD), self.form, self.columns)


class TextFile:
    """One file, as far as it has been read."""

    def __init__(self, file: Path, wanted: Wanted) -> None:
        self.file, self._wanted = file, wanted
        self.found: list[Table] = []
        """Its tables, including those without rows so far."""
        self._header: Header | None = None
        self.waits = False
        """Whether its last line had no line end when it was last read."""
        self._before = NONE_YET

    def read(self, content: Content, taken: Callable[[], None], before: Last = NONE_YET) -> None:
        """Read the file from its beginning.

        Args:
            content: its content.
            taken: called after each block of rows.
            before: the time of the last row of the file before it.

        Raises:
            DataError: the file is not CSV or JSON lines, or can be understood in two ways.
        """
        self.waits = content.waits
        self._before = before
        self.growth = Growth(content)
        self.dialect = self._wanted.dialect(content)
        self._has_quotes = self.growth.take(content)
        self._proofs = self._look(content)
        self.decisions = self._decide(self._proofs)
        self._tables = self._wanted.tables(content, self._has_quotes, self.dialect)
        for header, block in self._tables.blocks(BLOCK):
            self._take(header, block)
            taken()

    def go_on(self, content: Content, taken: Callable[[], None]) -> bool:
        """Read the new part; return whether that was possible. If not, do not use this object any more.

        It is not possible if the file is another one now, or if the new part changes how the whole file must
        be understood. Examples are another separator, further keys, a comma that turns out to be a decimal
        sign, another header, and the end of a quoted cell that began before.

        Raises:
            DataError: see `read`.
        """
        self.waits = content.waits
        growth, start = self.growth, self.growth.end
        if content.state == growth.state:
            return True
        if start == 0 or not growth.continues(content) or self._wanted.dialect(content) != self.dialect:
            return False
        quotes = growth.take(content)
        if content.end == start:
            return True
        if quotes and not self._has_quotes:
            return False  # cells may hold commas from now on
        if not self._tables.go_on(content, start, quotes):
            return False
        for header, block in self._tables.blocks(BLOCK):
            if header is not self._header:
                return False
            if self._proofs is not None:
                _prove(self._proofs[-1][1], block)
            self._take(header, block)
            taken()
        return self._decide(self._proofs) == self.decisions

    @property
    def last(self) -> Last:
        """The time of its last row; without rows, that of the last row before this file."""
        return self.found[-1].columns.times.last if self.found else self._before

    def follows(self, before: Last) -> bool:
        """Whether the result would be the same if the last row before this file had this time."""
        return before == self._before or not any(table.columns.times.leans for table in self.found)

    @property
    def bad(self) -> int:
        """The number of lines left out because they cannot be read."""
        return self._tables.bad

    @property
    def first_bad(self) -> Bad | None:
        """The first line that was left out."""
        return self._tables.first_bad

    @property
    def reading(self) -> tuple[str, ...]:
        """How the file was understood, and why, for its owner."""
        told = chain(
            self.dialect.reading,
            *(decision.reading for decision, _ in zip(self.decisions, self.found, strict=False)),
            self._tables.passed_over(),
        )
        return tuple(dict.fromkeys(told))

    def _take(self, header: Header, block: list[Row]) -> None:
        if header is not self._header:
            self._header = header
            self.found.append(self._begin(header))
        self.found[-1].columns.take(block)

    def _begin(self, header: Header) -> Table:
        wanted, dialect, decisions = self._wanted, self.dialect, self.decisions
        decision = decisions[len(self.found)] if len(self.found) < len(decisions) else decisions[0]
        unnamed = None
        if wanted.columns is None and dialect.header is None and dialect.form is not Form.JSON_LINES:
            unnamed = nameless(self.file, header.line) if looks_like_data(header.names) else None
        columns = Columns(
            header,
            decision.styles,
            decision.default,
            decision.undecided,
            Absence(wanted.form.missing_values),
            (wanted.label, wanted.series),
            wanted.series,
            wanted.form.time or ("time" if "seconds_elapsed" in header.names else None),
            key_of(header.names),
            last=self.last,
            exact=wanted.exact,
        )
        return Table(self.file, columns, unnamed)

    def _set_style(self) -> Style | None:
        """Return how all numbers are written, if that is known without examining them."""
        form, dialect = self._wanted.form, self.dialect
        if dialect.form is Form.JSON_LINES:
            return Style()
        if (style := set_style(form)) is not None:
            return style
        if dialect.decimal is not None:
            return Style(dialect.decimal, form.thousands or "")
        if dialect.separator == "," and not self._has_quotes:  # no cell can hold a comma
            return Style(thousands=form.thousands or "")
        return None

    def _look(self, content: Content) -> Proofs | None:
        """Return the evidence in the cells of each table; None: none is needed."""
        if self._set_style() is not None:
            return None
        proofs: Proofs = []
        for header, block in self._wanted.tables(content, self._has_quotes, self.dialect).blocks(BLOCK):
            if not proofs or proofs[-1][0] is not header:
                proofs.append((header, {j: Evidence() for j in range(len(header.names))}))
            _prove(proofs[-1][1], block)
        return proofs

    def _decide(self, proofs: Proofs | None) -> list[Decision]:
        """Return how the numbers of each table are written; one style for all if no evidence is needed."""
        if proofs is None:
            return [_all(self._set_style() or Style())]
        form, separator = self._wanted.form, self.dialect.separator
        return [decide(header.names, found, form, separator) for header, found in proofs] or [_all(Style())]


def _prove(evidence: Mapping[int, Evidence], block: list[Row]) -> None:
    lines = [line for line, _ in block]
    for j, cells in enumerate(zip(*(row for _, row in block), strict=True)):
        evidence[j].take(cells, lines)


def _all(style: Style) -> Decision:
    return Decision({}, {}, (), style)


def rows_of(parsed: Iterable[TextFile]) -> Iterator[Columns]:
    """Iterate over the columns of all tables, in order."""
    return (table.columns for one in parsed for table in one.found)
