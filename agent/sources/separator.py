"""Finds the character between the cells of a file: with it all lines have the same number of cells. Pure."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from agent.sources.form_settings import FormSettings
from agent.sources.header import looks_like_data, looks_like_number
from agent.sources.preambles import Preamble
from fedge.data.disclosure import public
from fedge.errors import DataError

SEPARATORS = ",;\t|"
_COMMAS = ("separated by commas",)
MISFITS = 0.1
"""The share of lines that may have another number of cells although the separator is the right one."""
_NAMES = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "'|'", " ": "spaces"}
_FRACTION = re.compile(r"\s*[+-]?\d+,\d+\s*")


def cells_of(line: str, separator: str) -> list[str]:
    """Return the cells of one line; none if it cannot be read."""
    if separator == " ":
        line = re.sub(r"[ \t]+", " ", line.strip())
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return []


def rows_of(lines: Sequence[str], separator: str) -> list[list[str]]:
    """Return the cells of lines. A cell in quotes may continue in the next line."""
    if separator == " ":
        return [cells_of(line, separator) for line in lines]
    found = csv.reader((f"{line}\n" for line in lines), delimiter=separator, skipinitialspace=True)
    return [row for row in found if row]


def find_separator(
    file: Path,
    lines: Sequence[str],
    found: Preamble,
    form: FormSettings,
    columns: tuple[str, ...] | None,
) -> tuple[str, tuple[str, ...]]:
    """Return the separator, and sentences for the owner that say why.

    Raises:
        DataError: more than one separator fits.
    """
    if form.separator is not None:
        return form.separator, (
            f"separated by {_NAMES.get(form.separator, repr(form.separator))}, as [data] separator says",
        )
    if found.separator is not None:
        return found.separator, ()
    if not lines:
        return ",", ()
    width = None if columns is None else len(columns)
    fits = {sign: fit for sign in SEPARATORS if (fit := _fit(lines, sign, width)) is not None}
    if not fits:
        wide = [sign for sign in SEPARATORS if len(cells_of(lines[0], sign)) > 1]
        if not wide and (_fit(lines, " ", width) or 0.0) > 0 and len(lines) > 1:
            return " ", ("separated by spaces: every line has the same number of words",)
        sign = "," if "," in wide or not wide else wide[0]
        return sign, _COMMAS if sign == "," else (f"separated by {_NAMES[sign]}, which is in the header",)
    best = max(fits.values())
    tied = [sign for sign in fits if fits[sign] == best]
    if (len(tied) > 1 and "," not in tied) or (len(tied) > 1 and best > 0):
        signs = " and ".join(_NAMES[sign] for sign in tied)
        told = public("the separator cannot be detected: more than one fits")
        raise DataError(f"{file}: {told}: {signs}; set [data] separator", told)
    sign = tied[0]
    if sign == ",":
        return sign, _COMMAS
    cells = len(cells_of(lines[0], sign))
    return sign, (f"separated by {_NAMES[sign]}: with it each line has {cells} cells",)


def _fit(lines: Sequence[str], separator: str, columns: int | None = None) -> float | None:
    """Return the share of numbers among the cells; None: the separator does not divide all lines alike."""
    rows = rows_of(lines, separator)
    width = len(rows[0])
    if width < 2 or (columns is not None and width != columns):
        return None
    body = rows[1:] or rows
    fitting = [row for row in body if len(row) == width or (len(row) > width and not any(row[width:]))]
    if len(fitting) < len(body) * (1 - MISFITS):
        return None
    return sum(looks_like_number(cell) for row in fitting for cell in row) / sum(map(len, fitting))


def hint_of(lines: Sequence[tuple[int, str]], separator: str) -> str:
    """Return the setting to try if the first line does not look like the header of the lines below it."""
    texts = [line for _, line in lines]
    if len(texts) < 3:
        return ""
    if separator == "," and "," not in texts[0] and all(map(_FRACTION.fullmatch, texts[1:])):
        return 'the comma may be a decimal comma: set [data] separator = ";"'
    if _fit(texts, separator) is not None:
        return ""
    for i in range(1, min(len(texts) - 1, 50)):
        fits = [sign for sign in SEPARATORS if _fit(texts[i:], sign) is not None]
        below = cells_of(texts[i + 1], fits[0]) if fits else []
        if any(map(looks_like_number, below)) and not looks_like_data(cells_of(texts[i], fits[0])):
            return f"line {lines[i][0] + 1} looks like the header: set [data] skip = {lines[i][0]}"
    return ""
