"""The form of one CSV file: set by its owner, given by the file, or found out from its first lines."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.sources.header import is_time, looks_like_data, looks_like_number, refuse_line_protocol
from agent.sources.preambles import Form, Preamble, read_preamble
from agent.sources.said import Said
from fedge.data.disclosure import public
from fedge.errors import DataError

LINES, BYTES = 200, 1 << 16
"""How many lines of a file are examined."""
HEAD = BYTES + 1
"""How many bytes are read for that."""
SEPARATORS = ",;\t|"
_COMMAS = ("separated by commas",)
MISFITS = 0.1
"""The share of lines that may have another number of cells, where a separator is still the right one."""
_JSON_ARRAY = re.compile(r"\s*\[\s*\{")
_FRACTION = re.compile(r"\s*[+-]?\d+,\d+\s*")
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "'|'", " ": "spaces"}


@dataclass(frozen=True)
class Dialect:
    """How one file is to be read."""

    form: Form
    separator: str
    skip: int
    """Lines before the header."""
    comment: str | None
    header: tuple[int, tuple[str, ...]] | None = None
    """Line and names of a header that stands in a comment."""
    decimal: str | None = None
    """The decimal sign, if the owner or the file gives it."""
    units: bool = False
    """Whether the line below the header holds units."""
    reading: tuple[str, ...] = ()
    """What was found out and why, for the owner."""
    hint: str = ""
    """The setting that helps if lines do not fit, for the owner."""


def detect(file: Path, head: bytes, said: Said, columns: tuple[str, ...] | None) -> Dialect:
    """Find out how a file is written.

    Args:
        file: for messages.
        head: the first `HEAD` bytes of the file.
        said: the owner's settings, which are not searched for.
        columns: the names, where there is no header.

    Raises:
        DataError: this is no CSV; or two separators fit, and give other values.
    """
    lines = first_lines(head)
    found = read_preamble(lines, said.skip)
    _refuse_whole_json(file, lines, found.lines)
    if found.form is Form.JSON_LINES:
        return Dialect(found.form, ",", found.lines, None, reading=found.reading)
    comment, lead = _comments(lines, found, said)
    rest = [(n, line) for n, line in enumerate(lines) if n >= found.lines and line.strip()]
    if comment is not None:
        rest = [(n, line) for n, line in rest if not line.startswith(comment)]
    if found.form is Form.PLAIN and rest:
        refuse_line_protocol(file, rest[0][0] + 1, rest[0][1].strip())
    texts = [line for _, line in rest]
    separator, told = _separator(file, texts, found, said, columns)
    header = _header_in_comment(texts, lead, separator, comment, said, columns)
    reading = [*found.reading, *told]
    if comment is not None and found.form is not Form.INFLUX:
        reading.append(f"lines that begin with {comment!r} are comments")
    if header is not None:
        reading.append(f"the header is the comment in line {header[0]}")
    units = found.form is Form.PLAIN and header is None and columns is None and said.units_row is None
    if units and holds_units(rows_of(texts, separator)[:22]):
        reading.append(f"line {rest[1][0] + 1} holds units; [data] units_row = false takes it as a row")
    else:
        units = bool(said.units_row)
    decimal = said.decimal if said.decimal is not None else found.decimal
    return Dialect(
        form=found.form,
        separator=separator,
        skip=found.lines,
        comment=comment,
        header=header,
        decimal=decimal,
        units=units,
        reading=tuple(reading),
        hint=_hint(rest, separator)
        if found.form is Form.PLAIN and header is None and columns is None
        else "",
    )


def first_lines(data: bytes) -> list[str]:
    """The complete lines at the beginning of a file, at most `LINES`."""
    head = data[:BYTES].decode("utf-8-sig", errors="replace")
    lines = io.StringIO(head, newline=None).read().split("\n")
    if len(data) > BYTES and len(lines) > 1:
        lines.pop()
    return lines[:LINES]


def cells_of(line: str, separator: str) -> list[str]:
    """The cells of one line, as far as it can be read."""
    if separator == " ":
        line = re.sub(r"[ \t]+", " ", line.strip())
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []


def rows_of(lines: Sequence[str], separator: str) -> list[list[str]]:
    """The cells of lines, some of which may go on in the next one within quotes."""
    if separator == " ":
        return [cells_of(line, separator) for line in lines]
    found = csv.reader((f"{line}\n" for line in lines), delimiter=separator, skipinitialspace=True)
    return [row for row in found if row]


def holds_units(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the second of these rows holds units: text above columns of nothing but numbers.

    >>> holds_units([["t", "heat"], ["s", "degC"], ["0", "21.5"], ["1", "21.7"]])
    True
    >>> holds_units([["t", "heat"], ["0", "error"], ["1", "21.5"], ["2", "21.7"]])
    False
    """
    if len(rows) < 4 or len({len(row) for row in rows[:4]}) > 1:
        return False
    sample = [row for row in rows[2:] if len(row) == len(rows[0])]
    if any(looks_like_number(cell) or is_time(cell) for cell in rows[1]):
        return False
    if any(cell.strip() and any(cell == row[j] for row in sample) for j, cell in enumerate(rows[1])):
        return False  # a class or a state that comes again
    numbers = [
        j
        for j in range(len(rows[0]))
        if all(looks_like_number(row[j]) for row in sample if row[j].strip())
        and any(row[j].strip() for row in sample)
    ]
    above = [rows[1][j].strip() for j in numbers]
    return any(above) and not any(cell.lower() in _NO_UNITS for cell in above if cell)


_NO_UNITS = frozenset(
    {"-", "?", "na", "n/a", "nan", "none", "null", "unavailable", "unknown", "#n/a", "\\n", "error"}
)


def _comments(lines: Sequence[str], found: Preamble, said: Said) -> tuple[str | None, tuple[int, str] | None]:
    """The beginning of comments, and the last comment before the header with its line."""
    if found.form is Form.INFLUX:
        return "#", None
    comment = said.comment
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

    It is no comment if it has as many cells as the lines below, unless these begin with a header themselves.
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
    """Whether in some column a word is above nothing but numbers, and no number is in the line."""
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
    said: Said,
    columns: tuple[str, ...] | None,
) -> tuple[int, tuple[str, ...]] | None:
    """A comment that names the columns of rows which begin without a header, as numpy.savetxt writes it."""
    if lead is None or comment is None or columns is not None or not texts:
        return None
    names = tuple(name.strip() for name in cells_of(lead[1][len(comment) :].strip(), separator))
    first = cells_of(texts[0], separator)
    if len(names) != len(first) or not any(map(looks_like_number, first)):
        return None
    if said.comment is None and not looks_like_data(first):
        return None
    return lead[0], names


def _separator(
    file: Path,
    lines: Sequence[str],
    found: Preamble,
    said: Said,
    columns: tuple[str, ...] | None,
) -> tuple[str, tuple[str, ...]]:
    """The separator, and why."""
    if said.separator is not None:
        return said.separator, (f"separated by {_NAMES.get(said.separator, repr(said.separator))}, as said",)
    if found.separator is not None:
        return found.separator, ()
    if not lines:
        return ",", ()
    width = None if columns is None else len(columns)
    fits = {sign: fit for sign in SEPARATORS if (fit := _fit(lines, sign, width)) is not None}
    if not fits:
        wide = [sign for sign in SEPARATORS if len(cells_of(lines[0], sign)) > 1]
        if not wide and (_fit(lines, " ", width) or 0.0) > 0 and len(lines) > 1:
            return " ", ("separated by spaces: every line has as many words",)
        sign = "," if "," in wide or not wide else wide[0]
        return sign, _COMMAS if sign == "," else (f"separated by {_NAMES[sign]}, which stands in the header",)
    best = max(fits.values())
    tied = [sign for sign in fits if fits[sign] == best]
    if (len(tied) > 1 and "," not in tied) or (len(tied) > 1 and best > 0):
        signs = " and ".join(_NAMES[sign] for sign in tied)
        told = public("the separator cannot be told: more than one fits")
        raise DataError(f"{file}: {told}: {signs}; say it: [data] separator", told)
    sign = tied[0]
    if sign == ",":
        return sign, _COMMAS
    cells = len(cells_of(lines[0], sign))
    return sign, (f"separated by {_NAMES[sign]}: the lines have {cells} cells each then",)


def _fit(lines: Sequence[str], separator: str, columns: int | None = None) -> float | None:
    """The share of numbers among the cells, where a separator divides all lines alike; else None."""
    rows = rows_of(lines, separator)
    width = len(rows[0])
    if width < 2 or (columns is not None and width != columns):
        return None
    body = rows[1:] or rows
    fitting = [row for row in body if len(row) == width or (len(row) > width and not any(row[width:]))]
    if len(fitting) < len(body) * (1 - MISFITS):
        return None
    return sum(looks_like_number(cell) for row in fitting for cell in row) / sum(map(len, fitting))


def _refuse_whole_json(file: Path, lines: Sequence[str], at: int) -> None:
    text = "\n".join(lines[at:])
    if _JSON_ARRAY.match(text) or text.split("\n", 1)[0].strip() == "{":
        told = public("line {line}: JSON, but not an object in each line", line=at + 1)
        raise DataError(f"{file}: {told}; write one object a line: jq -c '.[]' FILE", told)


def _hint(lines: Sequence[tuple[int, str]], separator: str) -> str:
    """The setting that helps where a later line than the first looks like the header of those below it."""
    texts = [line for _, line in lines]
    if len(texts) < 3:
        return ""
    if separator == "," and "," not in texts[0] and all(map(_FRACTION.fullmatch, texts[1:])):
        return 'the comma may be a decimal comma: say [data] separator = ";"'
    if _fit(texts, separator) is not None:
        return ""
    for i in range(1, min(len(texts) - 1, 50)):
        fits = [sign for sign in SEPARATORS if _fit(texts[i:], sign) is not None]
        below = cells_of(texts[i + 1], fits[0]) if fits else []
        if any(map(looks_like_number, below)) and not looks_like_data(cells_of(texts[i], fits[0])):
            return f"line {lines[i][0] + 1} looks like the header: say [data] skip = {lines[i][0]}"
    return ""
