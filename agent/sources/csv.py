"""Samples from text, CSV or JSON lines: one file, or a folder of them that may be growing."""

from collections.abc import Hashable
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from agent.sources.columns import Absence, Columns
from agent.sources.decimals import Decision, Evidence, Style, decide, said_style
from agent.sources.dialect import Dialect, detect
from agent.sources.folder import list_files, read_data
from agent.sources.header import looks_like_data, nameless
from agent.sources.joining import Table, join, key_of
from agent.sources.jsonlines import JsonTables
from agent.sources.preambles import Form
from agent.sources.records import Bad
from agent.sources.rotation import beside
from agent.sources.said import NOTHING, Said
from agent.sources.samples import LeftOut, Samples, unreadable
from agent.sources.tables import COMPLETE, CsvTables, Header, Tables
from fedge.disclosure import public
from fedge.errors import DataError

BLOCK = 4_096
"""Rows held as text at a time."""


@dataclass(frozen=True)
class CsvSource:
    """Text in UTF-8: CSV with a header line, as RFC 4180 has it or in another dialect; or without a header,
    and with `columns`; or JSON lines.

    Columns are told apart by their names. A column of text is no error unless the task asks for it, nor is
    one that only some files have, or whose name stands twice. A line that cannot be read is left out.
    An empty line is no row; where there is only one column, "" is a row whose value is missing.
    """

    path: Path
    """A file, or a folder whose *.csv are read in the order of their names."""
    label: str | None = None
    """The column of class names; without such a column there are no answers."""
    series: str | None = None
    """The column naming the recording a row belongs to; None: each file is one."""
    columns: tuple[str, ...] | None = None
    """Names of the columns, in order, of files without a header; one that repeats these names is no row."""
    growing: bool = True
    """Whether a last line without its end is still being written, and waits."""
    said: Said = NOTHING
    """How the files are written, as far as their owner says it."""
    files: str | None = None
    """A pattern of names of the folder's files, which are read instead of its *.csv; see `rotation`."""

    def fingerprint(self) -> Hashable:
        """Each file's name, inode, size and time of change."""
        try:
            stats = [(file, file.stat()) for file in list_files(self.path, self.files)]
        except OSError as error:
            raise unreadable(Path(error.filename or self.path), error) from None
        return tuple((file, stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats)

    def read(self) -> Samples:
        """Read all files. A file without a row as yet adds nothing, as long as another has some.

        Raises:
            DataError: no file, none that is text, no rows, too many lines that cannot be read, or a form that
                can be understood in two ways; names the file, the line and what to do.
        """
        files = list_files(self.path, self.files)
        parsed = [self._parse(file) for file in files]
        tables = [table for file in parsed for table in file.tables if table.columns.rows]
        left_out = self._left_out(parsed, sum(table.columns.rows for table in tables))
        if not tables:
            told = (
                public("has no rows yet")
                if self.columns is not None
                else public("has a header but no rows yet")
                if any(file.tables for file in parsed)
                else public("is empty; it must begin with a header line")
            )
            if len(files) > 1:
                told = public("{told} (nor have {more} more files rows)", told=told, more=len(files) - 1)
            raise DataError(f"{files[0]}: {told}", public("the file {told}", told=told))
        samples = join(
            self.path, tables, self.label, self.series, self.said.time, _told_of_all(parsed), left_out
        )
        return replace(samples, beside=beside(self.path, files, self.files))

    def names(self) -> frozenset[str]:
        """What stands in the first file's first line.

        Raises:
            DataError: no file, none that is text, or the separator cannot be told.
        """
        file = list_files(self.path, self.files)[0]
        data = read_data(file, self.growing)
        dialect = detect(file, data, self.said, None)
        return frozenset(
            next((header.names for header, _ in self._tables(file, data, dialect).blocks(1)), ())
        )

    def _tables(
        self, file: Path, data: bytes, dialect: Dialect, columns: tuple[str, ...] | None = None
    ) -> Tables:
        if dialect.form is Form.JSON_LINES:
            return JsonTables(file, data, dialect.skip, {self.label, self.series})
        return CsvTables(file, data, dialect, columns)

    def _parse(self, file: Path) -> "_File":
        data = read_data(file, self.growing)
        dialect = detect(file, data, self.said, self.columns)
        decisions = self._decide(file, data, dialect)
        tables = self._tables(file, data, dialect, self.columns)
        absence = Absence(self.said.missing_values)
        found: list[Table] = []
        header: Header | None = None
        for header_, block in tables.blocks(BLOCK):
            if header_ is not header:
                header = header_
                decision = decisions[len(found)] if len(found) < len(decisions) else decisions[0]
                unnamed = None
                if self.columns is None and dialect.header is None and dialect.form is not Form.JSON_LINES:
                    unnamed = nameless(file, header.line) if looks_like_data(header.names) else None
                time = self.said.time or ("time" if "seconds_elapsed" in header.names else None)
                columns = Columns(
                    header,
                    decision.styles,
                    decision.default,
                    decision.undecided,
                    absence,
                    (self.label, self.series),
                    time,
                    key_of(header.names),
                )
                found.append(Table(file, columns, unnamed))
            found[-1].columns.take(block)
        told = chain(
            dialect.reading,
            *(decision.reading for decision, _ in zip(decisions, found, strict=False)),
            tables.passed_over(),
        )
        return _File(file, found, tuple(dict.fromkeys(told)), tables.bad, tables.first_bad, dialect.hint)

    def _decide(self, file: Path, data: bytes, dialect: Dialect) -> list[Decision]:
        """How the numbers of each table are written; for a file without a question, of all."""
        said = said_style(self.said)
        if dialect.form is Form.JSON_LINES:
            return [_all(Style())]
        if said is not None:
            return [_all(said)]
        if dialect.decimal is not None:
            return [_all(Style(dialect.decimal, self.said.thousands or ""))]
        if dialect.separator == "," and b'"' not in data:  # no cell can hold a comma
            return [_all(Style(thousands=self.said.thousands or ""))]
        evidence: list[tuple[Header, dict[int, Evidence]]] = []
        for header, block in self._tables(file, data, dialect, self.columns).blocks(BLOCK):
            if not evidence or evidence[-1][0] is not header:
                evidence.append((header, {j: Evidence() for j in range(len(header.names))}))
            lines = [line for line, _ in block]
            for j, cells in enumerate(zip(*(row for _, row in block), strict=True)):
                evidence[-1][1][j].take(cells, lines)
        return [decide(header.names, found, self.said, dialect.separator) for header, found in evidence] or [
            _all(Style())
        ]

    def _left_out(self, parsed: "list[_File]", rows: int) -> LeftOut | None:
        """The lines that could not be read.

        Raises:
            DataError: they are more than the owner allows.
        """
        bad = sum(file.bad for file in parsed)
        if not bad:
            return None
        of = rows + bad
        file, first, hint = next(
            (file.file, file.first_bad, file.hint) for file in parsed if file.first_bad is not None
        )
        place = public("line {line}: {what}", line=first.line, what=first.what)
        if bad > self.said.max_bad * of:
            advice = f"; {hint}" if hint else first.detail
            if not hint and COMPLETE in advice and 2 * bad > of:
                advice = (
                    "; if the header stands elsewhere, say [data] skip, or name the columns: [data] columns"
                )
            told = public(
                "{place} ({bad} of {of} rows cannot be read, more than [data] max_bad allows)",
                place=place,
                bad=bad,
                of=of,
            )
            raise DataError(
                f"{file}: {place}{advice}; {bad} of {of} rows would be left out, more than "
                f"[data] max_bad = {self.said.max_bad:g} allows",
                told,
            )
        told = public("{bad} of {of} rows left out, first: {place}", bad=bad, of=of, place=place)
        return LeftOut(bad, of, f"{bad} of {of} rows left out, first: {file}: {place}", told)


@dataclass(frozen=True)
class _File:
    """What was read of one file."""

    file: Path
    tables: list[Table]
    reading: tuple[str, ...]
    bad: int
    first_bad: Bad | None
    hint: str
    """The setting that helps if lines do not fit, for the owner."""


def _all(style: Style) -> Decision:
    return Decision({}, {}, (), style)


def _told_of_all(parsed: list[_File]) -> tuple[str, ...]:
    """What was found out of files, each sentence once, with the files that it is about if not all."""
    files: dict[str, list[str]] = {}
    for file in parsed:
        for sentence in file.reading:
            files.setdefault(sentence, []).append(file.file.name)
    return tuple(
        sentence
        if len(names) == len(parsed)
        else f"{names[0]}{f' and {len(names) - 1} more files' if len(names) > 1 else ''}: {sentence}"
        for sentence, names in files.items()
    )
