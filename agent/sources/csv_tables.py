"""The tables of a CSV file: a header and its rows. A logger may write another header and table."""

from collections.abc import Iterator
from pathlib import Path

from agent.sources.content import Content
from agent.sources.dialect import Dialect
from agent.sources.header import is_another_header, looks_like_number
from agent.sources.labview_segments import LabviewSegments
from agent.sources.preambles import Form
from agent.sources.records import Bad, Records
from agent.sources.table_reader import COMPLETE, Header, Row
from fedge.data.disclosure import public
from fedge.errors import DataError


class CsvTables:
    """The tables of a file of separated cells.

    Args:
        file: the file, for messages.
        content: its content.
        has_quotes: whether the content contains a quote.
        dialect: how the file is written.
        columns: the names of the columns, if the file has no header. A first line that repeats them is not a
            row.
    """

    def __init__(
        self,
        file: Path,
        content: Content,
        has_quotes: bool,
        dialect: Dialect,
        columns: tuple[str, ...] | None = None,
    ) -> None:
        self._file = file
        self._records = Records(content.text(), has_quotes, dialect.separator, dialect.comment, dialect.skip)
        self._dialect, self._columns = dialect, columns
        self._header: Header | None = None
        self._below = 0
        """The number of lines below a header that are not rows: units and other notes about the columns."""
        if dialect.form is Form.TOA5:
            self._below = 2
        elif dialect.units:
            self._below = 1
        self._begun = False
        self._pending = 0 if dialect.header is not None else self._below
        """How many of these lines are still to come."""
        self._unread = columns is not None
        """Whether the first line, which may repeat the names that the owner has set, is still to come."""
        self._repeats: list[int] = []
        self._empty = 0
        self._numbers = False
        """Whether the first column has held a number."""
        self._segments = LabviewSegments() if dialect.form is Form.LABVIEW else None

    @property
    def first_bad(self) -> Bad | None:
        """The first line that was left out."""
        return self._records.first_bad

    @property
    def bad(self) -> int:
        """The number of lines left out because they cannot be read."""
        return self._records.bad

    def go_on(self, content: Content, start: int, has_quotes: bool) -> bool:
        """Let `blocks` continue with the new part of the file.

        Args:
            content: the content of the file now.
            start: its length when `blocks` ended, in bytes.
            has_quotes: whether the new part contains a quote.

        Returns:
            Whether it can continue. It cannot if the old part ended within a record.
        """
        self._records.go_on(content.text(start), has_quotes)
        return not self._records.torn

    def passed_over(self) -> tuple[str, ...]:
        """Describe the lines that were not rows, for the owner."""
        told = []
        if self._repeats:
            told.append(
                f"the header is repeated in line {self._repeats[0]}"
                + (f" and {len(self._repeats) - 1} more lines" if len(self._repeats) > 1 else "")
                + ": not counted as a row"
            )
        if self._empty:
            told.append(f"{self._empty} lines hold nothing but separators: not counted as rows")
        return tuple(told)

    def blocks(self, size: int) -> Iterator[tuple[Header, list[Row]]]:
        """Iterate over blocks of at most `size` rows of one table. Each header begins with an empty block."""
        block: list[Row] = []
        before: Header | None = None
        for header, row in self._rows():
            if header is not before:
                if block and before is not None:
                    yield before, block
                    block = []
                before = header
                yield header, []
            if row is not None:
                block.append(row)
                if len(block) >= size:
                    yield header, block
                    block = []
        if block and before is not None:
            yield before, block

    def _rows(self) -> Iterator[tuple[Header, Row | None]]:
        """Iterate over each header, first without a row, then with each of its rows."""
        dialect, records = self._dialect, self._records
        if not self._begun:
            self._begun = True
            if self._columns is not None:
                self._header = Header(0, self._columns)
            elif dialect.header is not None:
                self._header = Header(*dialect.header)
            if self._header is not None:
                yield self._header, None
            records.names_expected = self._header is None
        for line, cells in records:
            header = self._header
            if not cells or (cells == [""] and (header is None or len(header.names) != 1)):
                continue
            if self._segments is not None and self._segments.skips(cells):
                continue
            if header is None or records.annotated:
                records.annotated = False
                if header is None and len(cells) > 1 and not any(cells):
                    continue
                yield from self._begin(line, cells)
                self._pending = self._below
                continue
            if self._unread:
                self._unread = False
                if self._repeats_names(line, cells, header):
                    continue
            if self._pending:
                self._pending -= 1
                continue
            again = self._begins_again(cells, header)
            if again is not None:
                if again:
                    yield from self._begin(line, cells)
                    self._pending = self._below
                else:
                    self._repeats.append(line)
                continue
            width = len(header.names)
            if len(cells) != width:
                fitted = self._fitted(cells, header)
                if fitted is None:
                    self._leave_out(len(cells), width)
                    continue
                cells = fitted
            if (
                width > 1 and dialect.separator != "," and not any(cells)
            ):  # between commas such a line is a row
                self._empty += 1
                continue
            self._numbers = self._numbers or looks_like_number(cells[0])
            yield header, (line, cells)

    def _begin(self, line: int, cells: list[str]) -> Iterator[tuple[Header, None]]:
        """Handle a line of names: another table's header, or a repetition of this one."""
        names = tuple(_name(cell) for cell in cells)
        if self._header is not None:
            while len(names) > len(self._header.names) and not names[-1]:
                names = names[:-1]
            if names == self._header.names:
                self._repeats.append(line)
                return
        self._header = Header(line, names)
        self._records.names_expected = False
        yield self._header, None

    def _repeats_names(self, line: int, cells: list[str], header: Header) -> bool:
        """Whether the first line repeats the names that the owner has set.

        Raises:
            DataError: it has the same names in another order.
        """
        names = tuple(_name(cell) for cell in cells)
        if names == header.names:
            return True
        if sorted(names) == sorted(header.names):
            raise DataError(
                f"{self._file}: line {line}: has the names in [data] columns in another order; "
                "name them in the order of this file, or remove [data] columns",
                public("line {line}: has the names in [data] columns in another order", line=line),
            )
        return False

    def _begins_again(self, cells: list[str], header: Header) -> bool | None:
        """Whether a line among the rows is a header (True), another line that is not a row (False), or a row
        (None)."""
        names, form = header.names, self._dialect.form
        if form is Form.TOA5 and cells[0] == "TOA5":
            self._header = None
            return False
        if self._segments is not None and self._segments.begins(cells):
            self._header = None
            return False
        k = header.first
        if len(names) == 1 and not self._numbers:  # a column of words: the name may be a value
            return None
        if k < 0 or len(cells) <= k or cells[k].strip() not in names or not cells[k].strip():
            return None
        stripped = [_name(cell) for cell in cells]
        while len(stripped) > len(names) and not stripped[-1]:
            stripped.pop()
        if tuple(stripped) == names or is_another_header(stripped, names):
            return self._columns is None
        return None

    def _fitted(self, cells: list[str], header: Header) -> list[str] | None:
        """Fit a row with more or fewer cells than the header to it; None: the form of the file forbids it."""
        width, form = len(header.names), self._dialect.form
        if len(cells) > width:
            if any(cells[width:]) and form is not Form.HOME_ASSISTANT:
                return None
            return cells[:width]
        lacking = width - len(cells)
        if form is Form.HOME_ASSISTANT and len(cells) >= 3:
            return cells + [""] * lacking
        if form is Form.LABVIEW and header.names[-1] == "Comment" and lacking == 1:
            return [*cells, ""]
        if not any(header.names[len(cells) :]):
            return cells + [""] * lacking
        return None

    def _leave_out(self, cells: int, columns: int) -> None:
        whose = public("the header has") if self._columns is None else public("[data] columns names")
        advice = COMPLETE if self._columns is None else "name every column, or complete the line"
        if cells > columns > 1 and self._columns is None:
            advice = "a cell with a comma in it, such as a decimal comma, needs quotes or another separator"
        told = public(
            "has {cells} cells, {whose} {columns} columns", cells=cells, whose=whose, columns=columns
        )
        self._records.leave_out(told, f"; {advice}")


def _name(cell: str) -> str:
    """Return the name in a cell. Bytes that are not UTF-8 become U+FFFD."""
    return cell.strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace")
