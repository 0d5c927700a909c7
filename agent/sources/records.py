"""The records of a CSV file, each with its line. If a record cannot be read, only its first line is left out.

A quote that is never closed, or a line that a power cut has damaged, would make the reader take good lines
for a part of the same record. So after a record that cannot be used, reading goes on with the line after its
*first* line.
"""

import csv
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fedge.data.disclosure import Public, public

_NOT_UTF_8 = public("not UTF-8"), "; save the file as CSV in UTF-8"
SPACES = re.compile(r"[ \t]+")


@dataclass(frozen=True)
class Bad:
    """A line that cannot be read."""

    line: int
    what: Public
    detail: str = ""
    """Further text for the owner, which stays on the device."""


class Records:
    """All records of a file.

    Args:
        lines: the lines of the file, with line ends of any kind. Bytes that are not UTF-8 are surrogates.
        has_quotes: whether the lines contain a quote.
        separator: the character between cells; a space stands for any run of spaces and tabs.
        comment: lines that begin with it are skipped. Those of InfluxDB set `annotated`.
        skip: the number of lines at the top to skip.
    """

    def __init__(
        self,
        lines: Iterator[str],
        has_quotes: bool,
        separator: str,
        comment: str | None = None,
        skip: int = 0,
    ) -> None:
        self._text, self._has_quotes = lines, has_quotes
        self._comment, self._spaces = comment, separator == " "
        self._number = 0
        self._pending: deque[str] = deque()
        self._taken: list[str] = []
        self._dirty: tuple[Public, str] | None = None
        self._reader = csv.reader(
            _Lines(self._next_line), delimiter=separator, strict=True, skipinitialspace=True
        )
        self.annotated = False
        """Whether comments before a table of InfluxDB were read since this was last set to False."""
        self.names_expected = False
        """Whether the next record holds names. It is used even if one of them is not UTF-8."""
        self.first_bad: Bad | None = None
        self.bad = 0
        """The number of lines left out."""
        self.torn = False
        """Whether the lines ended within a record, which further lines might have completed."""
        self._skip = skip
        """How many lines at the top are still to be skipped."""

    def go_on(self, lines: Iterator[str], has_quotes: bool) -> None:
        """Continue with more lines after the end of the earlier ones."""
        self._text, self._has_quotes = lines, self._has_quotes or has_quotes

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            self._taken.clear()
            self._dirty = None
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                if self._dirty is not None:
                    self.leave_out(*self._dirty)
                    continue
                hint = "; look for a quote that is not closed" if self._has_quotes else ""
                self.leave_out(public("not CSV"), f": {error}{hint}")
                continue
            if self._dirty is not None and not (self.names_expected and self._dirty == _NOT_UTF_8):
                self.leave_out(*self._dirty)
                continue
            yield self.line, cells

    @property
    def line(self) -> int:
        """The line that the newest record begins in, counted from 1."""
        return self._number - len(self._taken) + 1

    def leave_out(self, what: Public, detail: str = "") -> None:
        """Leave out the newest record, and continue with the line after its first line."""
        self.bad += 1
        if self.first_bad is None:
            self.first_bad = Bad(self.line, what, detail)
        again = self._taken[1:]
        self._pending.extendleft(reversed(again))
        self._number -= len(again)
        del self._taken[1:]

    def _next_line(self) -> str:
        while True:
            line = self._pending.popleft() if self._pending else self._read_line()
            self._number += 1
            if self._comment is not None and not self._taken and line.startswith(self._comment):
                self.annotated = self.annotated or is_annotation(line)
                continue
            break
        self._taken.append(line)
        if "\0" in line:
            self._dirty = public("NUL bytes, perhaps from a power cut"), ""
        elif not line.isascii() and not is_utf8(line):
            self._dirty = self._dirty or _NOT_UTF_8
        return SPACES.sub(" ", line.strip()) if self._spaces else line

    def _read_line(self) -> str:
        try:
            while self._skip:
                next(self._text)
                self._number += 1
                self._skip -= 1
            return next(self._text)
        except StopIteration:
            self.torn = self.torn or bool(self._taken)
            raise


class _Lines:
    """The input of the CSV reader. It can continue after its end, if lines were put back."""

    def __init__(self, take: Callable[[], str]) -> None:
        self._take = take

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        return self._take()


def is_annotation(line: str) -> bool:
    """Whether InfluxDB wrote this line before a table."""
    return line.startswith(("#group", "#datatype", "#default"))


def is_utf8(line: str) -> bool:
    """Whether a line that was decoded with `surrogateescape` was UTF-8."""
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True
