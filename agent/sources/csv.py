"""Samples from text files, CSV or JSON lines: one file, or a folder of files. The files may be growing."""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.sources.content import opened
from agent.sources.folder import list_files
from agent.sources.form_settings import NOTHING, FormSettings
from agent.sources.joined_tables import join
from agent.sources.newest_rows import Newest, Thinning
from agent.sources.rotation import beside
from agent.sources.samples import LeftOut, Samples, unreadable
from agent.sources.table_reader import COMPLETE
from agent.sources.text_file import TextFile, Wanted, rows_of
from agent.sources.times import NONE_YET
from fedge.data.disclosure import public
from fedge.errors import DataError


@dataclass
class _Memory:
    """The result of the last read, from which the next one continues."""

    parsed: dict[Path, TextFile] = field(default_factory=dict)
    samples: Samples | None = None
    """The samples from it; None: the last read failed."""


@dataclass(frozen=True)
class CsvSource:
    """Text in UTF-8: CSV with a header line (RFC 4180 or another dialect), CSV without a header and with
    `columns`, or JSON lines.

    Columns are identified by their names. These columns are an error only if the task asks for them: a column
    of text, one that only some files have, and one whose name occurs twice. A line that cannot be read is
    left out. An empty line is not a row. If there is only one column, "" is a row whose value is missing.

    A source remembers what it has read: if a file has only grown, only the new part is parsed.
    """

    path: Path
    """A file, or a folder whose *.csv are read in the order of their names."""
    label: str | None = None
    """The column of class names; None: there are no answers."""
    series: str | None = None
    """The column that names a row's recording; None: each file is one recording."""
    columns: tuple[str, ...] | None = None
    """Names of the columns, in order, for files without a header. A first line that repeats them is not a
    row."""
    growing: bool = True
    """Whether a last line without an end is still being written, and is left for the next read."""
    form: FormSettings = NOTHING
    """How the files are written, as far as their owner has set it."""
    newest: Newest | None = None
    """Which rows are used; None: all."""
    files: str | None = None
    """A pattern for names of files in the folder, which are read instead of *.csv; see `rotation`."""
    exact: bool = False
    """Whether the rounding of float32 is kept for all columns, and not only where it may matter."""
    clock: Callable[[], float] = field(default=time.time, compare=False, repr=False)
    """The time by the device's clock, in seconds since 1970."""
    _memory: _Memory = field(default_factory=_Memory, init=False, compare=False, repr=False)

    def fingerprint(self) -> Hashable:
        """Return each file's name, inode, size and time of change.

        Raises:
            DataError: the file or folder is not there, or cannot be read.
        """
        try:
            stats = [(file, file.stat()) for file in list_files(self.path, self.files)]
        except OSError as error:
            raise unreadable(Path(error.filename or self.path), error) from None
        return tuple((file, stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in stats)

    def read(self) -> Samples:
        """Read all files. A file without rows adds nothing, as long as another has some.

        Raises:
            DataError: there is no file or no row, a file is not text, too many lines cannot be read, or a
                file can be understood in two ways. The text names the file and the line, and says what to do.
        """
        files = list_files(self.path, self.files)
        before, samples = self._memory.parsed, self._memory.samples
        self._memory.parsed, self._memory.samples = {}, None  # stays so if anything is raised
        parsed, changed = self._parse(files, before)
        self._memory.parsed = {one.file: one for one in parsed}
        if samples is None or changed:
            samples = None  # frees its memory before the next are made
            samples = self._joined(files, parsed)
        if (others := beside(self.path, files, self.files)) != samples.beside:
            samples = replace(samples, beside=others)
        if (waiting := tuple(one.file.name for one in parsed if one.waits)) != samples.waiting:
            samples = replace(samples, waiting=waiting)
        self._memory.samples = samples
        return samples

    def names(self) -> frozenset[str]:
        """Return the cells of the first file's first line.

        Raises:
            DataError: there is no file, it is not text, or more than one separator fits.
        """
        file = list_files(self.path, self.files)[0]
        wanted = replace(self._wanted(), columns=None)
        with opened(file, self.growing) as content:
            tables = wanted.tables(content, True, wanted.dialect(content))
            return frozenset(next((header.names for header, _ in tables.blocks(1)), ()))

    def _wanted(self) -> Wanted:
        return Wanted(self.label, self.series, self.columns, self.form, self.exact)

    def _parse(self, files: Sequence[Path], before: dict[Path, TextFile]) -> tuple[list[TextFile], bool]:
        """Return all files as they are now, and whether anything is new.

        If dropped rows may be among the newest now, because other rows are gone, everything is read again.
        """
        parsed: list[TextFile] = []
        changed = before.keys() != set(files)
        if not before.keys() <= set(files) and _forgotten(before):
            before = {}
        thinning = Thinning(self.newest, self.form.time, self.clock())

        def taken() -> None:
            thinning.now_and_then([*rows_of(parsed)])

        for file in files:
            last = parsed[-1].last if parsed else NONE_YET
            with opened(file, self.growing) as content:
                one = before.get(file)
                if one is not None:
                    parsed.append(one)
                    end = one.growth.end
                    if one.follows(last) and one.go_on(content, taken):
                        changed = changed or end != one.growth.end
                        continue
                    if _forgotten({one.file: one for one in parsed} | before):
                        return self._parse(files, {})
                    parsed.pop()
                parsed.append(TextFile(file, self._wanted()))
                parsed[-1].read(content, taken, last)
                changed = True
        if thinning.finish([*rows_of(parsed)]) and before:
            return self._parse(files, {})
        return parsed, changed

    def _joined(self, files: Sequence[Path], parsed: list[TextFile]) -> Samples:
        tables = [table for one in parsed for table in one.found if table.columns.seen]
        left_out = self._left_out(parsed, sum(table.columns.seen for table in tables))
        if not tables:
            told = (
                public("has no rows yet")
                if self.columns is not None
                else public("has a header but no rows yet")
                if any(one.found for one in parsed)
                else public("is empty; it must begin with a header line")
            )
            if len(files) > 1:
                told = public(
                    "{told} ({more} more files have no rows either)", told=told, more=len(files) - 1
                )
            raise DataError(f"{files[0]}: {told}", public("the file {told}", told=told))
        return join(
            self.path,
            tables,
            self.label,
            self.series,
            self.form.time,
            _told_of_all(parsed),
            left_out,
            self.clock(),
        )

    def _left_out(self, parsed: list[TextFile], rows: int) -> LeftOut | None:
        """Return the lines that could not be read; None: there are none.

        Raises:
            DataError: there are more of them than the owner allows.
        """
        bad = sum(one.bad for one in parsed)
        if not bad:
            return None
        of = rows + bad
        file, first, hint = next(
            (one.file, one.first_bad, one.dialect.hint) for one in parsed if one.first_bad is not None
        )
        place = public("line {line}: {what}", line=first.line, what=first.what)
        if bad > self.form.max_bad * of:
            advice = f"; {hint}" if hint else first.detail
            if not hint and COMPLETE in advice and 2 * bad > of:
                advice = "; if the header is elsewhere, set [data] skip; without a header, set [data] columns"
            told = public(
                "{place} ({bad} of {of} rows cannot be read, more than [data] max_bad allows)",
                place=place,
                bad=bad,
                of=of,
            )
            raise DataError(
                f"{file}: {place}{advice}; {bad} of {of} rows would be left out, more than "
                f"[data] max_bad = {self.form.max_bad:g} allows",
                told,
            )
        told = public("{bad} of {of} rows left out, first: {place}", bad=bad, of=of, place=place)
        return LeftOut(bad, of, f"{bad} of {of} rows left out, first: {file}: {place}", told)


def _forgotten(parsed: Mapping[Path, TextFile]) -> bool:
    """Whether some rows that were read have been dropped."""
    return any(columns.seen > columns.rows for columns in rows_of(parsed.values()))


def _told_of_all(parsed: list[TextFile]) -> tuple[str, ...]:
    """Return how the files were understood: each sentence once, with its files unless it applies to all."""
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
