"""Decides whether the first line of a CSV file holds the names of the columns, or values.

Numbers distinguish a line of values from a line of names. But names may be numbers too: 0, 1, 2 … as pandas
writes them, or years. So a first line counts as names, unless one of these holds:

* a cell is a number with a sign, a point or an exponent;
* its whole numbers do not increase by one, or begin with another number than 0, 1 or a year;
* a cell is a date with a time of day.

Names of these kinds are used if the task asks for them or `[data] columns` lists them.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from fedge.data.disclosure import public
from fedge.errors import DataError

FIRST_NAMES = frozenset({"0", "1", *map(str, range(1_900, 2_101))})
"""Whole numbers that are names begin with one of these: columns are counted from 0 or 1, or are years."""
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?")
_WHOLE = re.compile(r"0|[1-9][0-9]*")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d.*")
_LINE_PROTOCOL = re.compile(r"[^\s,=]+(,[^\s,=]+=[^\s,=]+)* [^\s,=]+=[^\s,]+(,[^\s,=]+=[^\s,]+)* -?\d{9,}")


def looks_like_data(cells: Sequence[str]) -> bool:
    """Whether these are values rather than the names of columns.

    >>> looks_like_data(["time", "PM2.5", "label"]), looks_like_data(["0", "1", "2", "label"])
    (False, False)
    >>> looks_like_data(["1458229140", "weather", "garden"]), looks_like_data(["21.7", "walk"])
    (True, True)
    """
    numbers = [cell for cell in cells if _NUMBER.fullmatch(cell)]
    if not all(_WHOLE.fullmatch(cell) for cell in numbers):
        return True
    if any(map(is_time, cells)):
        return True
    if not numbers:
        return False
    if numbers[0] not in FIRST_NAMES:
        return True
    return numbers != [str(int(numbers[0]) + i) for i in range(len(numbers))]


def nameless(file: Path, line: int) -> DataError:
    """Return the error for a first line that holds values."""
    return DataError(
        f"{file}: line {line} looks like data; name the columns: `[data] columns = […]`, even if this line "
        "holds their names",
        public("line {line} looks like data; name the columns: `[data] columns`", line=line),
    )


def looks_like_number(cell: str) -> bool:
    """Whether a cell is a number, with a decimal point or a decimal comma."""
    return _NUMBER.fullmatch(cell.strip()) is not None


def is_time(cell: str) -> bool:
    """Whether a cell is a date with a time of day."""
    return _TIME.fullmatch(cell.strip()) is not None


def refuse_line_protocol(file: Path, line: int, text: str) -> None:
    """Refuse a line of InfluxDB's line protocol.

    Raises:
        DataError: this line is InfluxDB's line protocol.
    """
    if _LINE_PROTOCOL.fullmatch(text):
        raise DataError(
            f"{file}: line {line}: this is InfluxDB's line protocol, not CSV; configure its writer for CSV "
            '(Telegraf: data_format = "csv")',
            public("line {line} is InfluxDB's line protocol, not CSV", line=line),
        )


def is_another_header(cells: Sequence[str], header: Sequence[str]) -> bool:
    """Whether a line among the rows is the header of another table that shares columns with this one.

    >>> is_another_header(["time", "host", "free"], ["time", "host", "usage"])
    True
    >>> is_another_header(["time", "kitchen", "warm"], ["time", "host", "usage"])
    False
    """
    names = [cell for cell in cells if cell]
    if len(set(names)) != len(names) or any(map(looks_like_number, names)):
        return False
    shared = len(set(names) & {name for name in header if name})
    return shared >= 2 and 2 * shared >= min(len(names), len(header))
