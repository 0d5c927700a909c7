"""How one CSV file is written: set by its owner, stated by the file, or detected from its first lines."""

import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.sources.form_settings import FormSettings
from agent.sources.header import looks_like_data, looks_like_number, refuse_line_protocol
from agent.sources.preambles import Form, Preamble, read_preamble
from agent.sources.separator import SEPARATORS, cells_of, find_separator, hint_of, rows_of
from agent.sources.units import holds_units
from fedge.data.disclosure import public
from fedge.errors import DataError

LINES, BYTES = 200, 1 << 16
"""How many lines of a file are examined."""
HEAD = BYTES + 1
"""How many bytes are read for that, which shows whether there are more."""
_JSON_ARRAY = re.compile(r"\s*\[\s*\{")


@dataclass(frozen=True)
class Dialect:
    """How one file is to be read."""

    form: Form
    separator: str
    skip: int
    """Lines before the header."""
    comment: str | None
    header: tuple[int, tuple[str, ...]] | None = None
    """Line and names of a header that is written as a comment."""
    decimal: str | None = None
    """The decimal sign, if the owner or the file gives it."""
    units: bool = False
    """Whether the line below the header holds units."""
    reading: tuple[str, ...] = ()
    """What was detected and why, for the owner."""
    hint: str = ""
    """The setting to try if lines do not fit, for the owner."""


def detect(file: Path, head: bytes, form: FormSettings, columns: tuple[str, ...] | None) -> Dialect:
    """Detect how a file is written.

    Args:
        file: the file, for messages.
        head: the first `HEAD` bytes of the file.
        form: the owner's settings. What they set is not detected.
        columns: the names of the columns, if there is no header.

    Raises:
        DataError: the file is not CSV; or two separators fit, and give different values.
    """
    lines = first_lines(head)
    found = read_preamble(lines, form.skip)
    _refuse_whole_json(file, lines, found.lines)
    if found.form is Form.JSON_LINES:
        return Dialect(found.form, ",", found.lines, None, reading=found.reading)
    comment, lead = _comments(lines, found, form)
    rest = [(n, line) for n, line in enumerate(lines) if n >= found.lines and line.strip()]
    if comment is not None:
        rest = [(n, line) for n, line in rest if not line.startswith(comment)]
    if found.form is Form.PLAIN and rest:
        refuse_line_protocol(file, rest[0][0] + 1, rest[0][1].strip())
    texts = [line for _, line in rest]
    separator, told = find_separator(file, texts, found, form, columns)
    header = _header_in_comment(texts, lead, separator, comment, form, columns)
    reading = [*found.reading, *told]
    if comment is not None and found.form is not Form.INFLUX:
        reading.append(f"lines that begin with {comment!r} are comments")
    if header is not None:
        reading.append(f"the header is the comment in line {header[0]}")
    units = found.form is Form.PLAIN and header is None and columns is None and form.units_row is None
    if units and holds_units(rows_of(texts, separator)[:22]):
        reading.append(f"line {rest[1][0] + 1} holds units; [data] units_row = false reads it as a row")
    else:
        units = bool(form.units_row)
    decimal = form.decimal if form.decimal is not None else found.decimal
    return Dialect(
        form=found.form,
        separator=separator,
        skip=found.lines,
        comment=comment,
        header=header,
        decimal=decimal,
        units=units,
        reading=tuple(reading),
        hint=hint_of(rest, separator)
        if found.form is Form.PLAIN and header is None and columns is None
        else "",
    )


def first_lines(data: bytes) -> list[str]:
    """Return the complete lines at the beginning of a file, at most `LINES`."""
    head = data[:BYTES].decode("utf-8-sig", errors="replace")
    lines = io.StringIO(head, newline=None).read().split("\n")
    if len(data) > BYTES and len(lines) > 1:
        lines.pop()
    return lines[:LINES]


def _comments(
    lines: Sequence[str], found: Preamble, form: FormSettings
) -> tuple[str | None, tuple[int, str] | None]:
    """Return the beginning of comments, and the last comment before the header with its line."""
    if found.form is Form.INFLUX:
        return "#", None
    comment = form.comment
    if comment is None and found.form is Form.PLAIN:
        block = [n for n, line in enumerate(lines[found.lines :], found.lines) if line.strip()]
        if block and lines[block[0]].startswith("#") and _is_comment(lines, block):
            comment = "#"
    if comment is None:
        return None, None
    last = None
    for n, line in enumerate(lines[found.lines :], found.lines):
        if line.startswith(comment):
            last = (n + 1, line)
        elif line.strip():
            break
    return comment, last


def _is_comment(lines: Sequence[str], block: Sequence[int]) -> bool:
    """Whether a first line with # is a comment, and not a header whose first name begins with #.

    It is a header if it has as many cells as the lines below, unless these begin with a header of their own.
    """
    below = [lines[n] for n in block if not lines[n].startswith("#")]
    if not below:
        return False
    for separator in SEPARATORS:
        names, rows = cells_of(lines[block[0]], separator), rows_of(below, separator)
        width = Counter(map(len, rows)).most_common(1)[0][0]
        if len(names) == width and (
            width > 1 or all(len(cells_of(line, sign)) < 2 for sign in SEPARATORS for line in below)
        ):
            return _begins_with_names([row for row in rows if len(row) == width])
    return True


def _begins_with_names(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row holds no number, and has in some column a word above numbers only."""
    if any(map(looks_like_number, rows[0])):
        return False
    return any(
        bool(cells) and cells[0] and all(map(looks_like_number, cells[1:])) and len(cells) > 1
        for cells in ([cell for cell in column if cell.strip()] for column in zip(*rows, strict=True))
    )


def _header_in_comment(
    texts: Sequence[str],
    lead: tuple[int, str] | None,
    separator: str,
    comment: str | None,
    form: FormSettings,
    columns: tuple[str, ...] | None,
) -> tuple[int, tuple[str, ...]] | None:
    """Return a comment that names the columns of rows without a header, as numpy.savetxt writes it."""
    if lead is None or comment is None or columns is not None or not texts:
        return None
    names = tuple(name.strip() for name in cells_of(lead[1][len(comment) :].strip(), separator))
    first = cells_of(texts[0], separator)
    if len(names) != len(first) or not any(map(looks_like_number, first)):
        return None
    if form.comment is None and not looks_like_data(first):
        return None
    return lead[0], names


def _refuse_whole_json(file: Path, lines: Sequence[str], at: int) -> None:
    text = "\n".join(lines[at:])
    if _JSON_ARRAY.match(text) or text.split("\n", 1)[0].strip() == "{":
        told = public("line {line}: JSON, but not an object in each line", line=at + 1)
        raise DataError(f"{file}: {told}; write one object in each line: jq -c '.[]' FILE", told)
