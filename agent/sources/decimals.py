"""How numbers are written in a file: the decimal sign, and the sign between thousands.

"1,234" is 1.234 or 1234, and the cell does not say which. Another cell of the column may: "0,5" can only be a
fraction, and "1.234,5" only a fraction with thousands. If no cell proves it, this module does not guess: the
column cannot be used until the owner sets `[data] decimal`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.sources.form_settings import FormSettings
from fedge.data.disclosure import Public, public

_GROUPS = {sign: re.compile(rf"[+-]?[1-9]\d{{0,2}}({re.escape(sign)}\d{{3}})+") for sign in ",."}
_FRACTION = {
    sign: re.compile(rf"[+-]?(\d+{re.escape(sign)}\d*|{re.escape(sign)}\d+)([eE][+-]?\d+)?") for sign in ",."
}
_BOTH = {
    sign: re.compile(rf"[+-]?[1-9]\d{{0,2}}({re.escape(other)}\d{{3}})+{re.escape(sign)}\d*([eE][+-]?\d+)?")
    for sign, other in ((",", "."), (".", ","))
}
OTHER = {",": ".", ".": ","}


@dataclass(frozen=True)
class Style:
    """How the numbers of a column are written."""

    decimal: str = "."
    thousands: str = ""

    def numbers(self, cells: Sequence[str]) -> NDArray[np.float64]:
        """Return the values of n cells, shape (n,).

        Raises:
            ValueError: a cell is not a number in this style.
        """
        text = "\n".join(cells)
        if "_" in text:
            raise ValueError
        if self.decimal == "." and (not self.thousands or self.thousands not in text):
            return np.array([float(cell) for cell in cells])
        if (self.thousands and self.thousands in text) or "." in text or text.count("\n") >= len(cells):
            return np.array([self.number(cell) for cell in cells])
        return np.array([float(cell) for cell in text.replace(self.decimal, ".").split("\n")])

    def number(self, cell: str) -> float:
        """Return a cell's value.

        Raises:
            ValueError: the cell is not a number in this style.
        """
        if "_" in cell:  # `float` also reads Python's 1_000, which in data is more likely a text
            raise ValueError
        if self.thousands or self.decimal != ".":
            cell = self._plain(cell.strip())
        return float(cell)

    def _plain(self, cell: str) -> str:
        if self.thousands and self.thousands in cell:
            whole, mark, fraction = cell.partition(self.decimal)
            groups = whole.lstrip("+-").split(self.thousands)
            if not 1 <= len(groups[0]) <= 3 or any(len(group) != 3 for group in groups[1:]):
                raise ValueError
            cell = whole.replace(self.thousands, "") + mark + fraction
        if self.decimal != ".":
            if "." in cell:
                raise ValueError
            cell = cell.replace(self.decimal, ".")
        return cell


@dataclass
class Evidence:
    """The evidence in one column: for each sign the line of the first cell that proves something."""

    fraction: dict[str, int] = field(default_factory=dict)
    """Where the sign can only be the decimal sign."""
    groups: dict[str, int] = field(default_factory=dict)
    """Where the sign can only separate thousands."""
    either: dict[str, int] = field(default_factory=dict)
    """Where the sign can be either."""

    def take(self, cells: Sequence[str], lines: Sequence[int]) -> None:
        """Examine more cells of the column."""
        text = "\n".join(cells)
        if {sign for sign in ",." if sign in text} <= self.fraction.keys():
            return
        for cell, line in zip(cells, lines, strict=True):
            if "," in cell or "." in cell:
                self._take(cell.strip(), line)

    def _take(self, cell: str, line: int) -> None:
        for sign in ",.":
            if _GROUPS[sign].fullmatch(cell):
                (self.either if cell.count(sign) == 1 else self.groups).setdefault(sign, line)
            elif _FRACTION[sign].fullmatch(cell):
                self.fraction.setdefault(sign, line)
            elif _BOTH[sign].fullmatch(cell):
                self.fraction.setdefault(sign, line)
                self.groups.setdefault(OTHER[sign], line)

    def proves(self, sign: str) -> int:
        """Return the line of a cell which proves that this is the decimal sign; 0: none does."""
        return self.fraction.get(sign, 0) or self.groups.get(OTHER[sign], 0)


@dataclass(frozen=True)
class Undecided:
    """A column whose numbers can be read in two ways."""

    line: int
    what: Public
    advice: str


@dataclass(frozen=True)
class Decision:
    """The styles of a file's columns by their position in the header, and the reasons."""

    styles: Mapping[int, Style]
    undecided: Mapping[int, Undecided]
    reading: tuple[str, ...]
    default: Style = Style()
    """The style of columns without evidence."""


def set_style(form: FormSettings) -> Style | None:
    """Return the style that the owner has set; None: the settings do not give the decimal sign."""
    if form.decimal is not None:
        return Style(
            form.decimal,
            form.thousands if form.thousands is not None else OTHER[form.decimal],
        )
    if form.thousands in OTHER:
        return Style(OTHER[form.thousands], form.thousands)
    return None


def decide(
    names: Sequence[str], found: Mapping[int, Evidence], form: FormSettings, separator: str
) -> Decision:
    """Decide how the columns' numbers are written.

    Args:
        names: the header.
        found: the evidence of each column, by its position in the header.
        form: the owner's settings, without a decimal sign.
        separator: the sign between cells. If it is a comma, a point is the decimal sign.
    """
    by = {sign: [j for j, evidence in found.items() if evidence.proves(sign)] for sign in ",."}
    proven = [sign for sign in ",." if by[sign]]
    whole = proven[0] if len(proven) == 1 else None
    """The sign that the file proves for all its columns."""
    if whole is not None and not any(whole in evidence.fraction for evidence in found.values()):
        whole = None  # groups of three digits alone may be an address (192.168.100.101) or a version
    styles: dict[int, Style] = {}
    undecided: dict[int, Undecided] = {}
    for j, evidence in found.items():
        own = [sign for sign in ",." if evidence.proves(sign)]
        if len(own) == 2:
            if separator == ",":  # a point is the decimal sign; cells with a comma are not numbers
                styles[j] = Style()
            else:
                undecided[j] = _conflict(evidence)
            continue
        decimal = own[0] if own else whole
        told = [each for each in found.values() if whole in each.fraction]
        grouped = decimal is not None and any(OTHER[decimal] in each.groups for each in (evidence, *told))
        open_ = [sign for sign in evidence.either if sign != decimal and not grouped]
        if decimal is None and separator == "," and open_ == ["."]:
            open_ = []
        if open_:
            undecided[j] = _ambiguous(evidence.either[open_[0]], open_[0])
        thousands = OTHER[decimal] if decimal is not None and grouped else form.thousands or ""
        styles[j] = Style(decimal or ".", thousands)
    return Decision(
        styles,
        undecided,
        _reasons(names, found, by, separator),
        Style(whole or ".", form.thousands or ""),
    )


def _reasons(
    names: Sequence[str], found: Mapping[int, Evidence], by: Mapping[str, list[int]], separator: str
) -> tuple[str, ...]:
    proofs = [
        f"{_named(sign)}s: column {names[by[sign][0]]!r} in line {found[by[sign][0]].proves(sign)} proves it"
        for sign in ",."
        if by[sign] and (sign == "," or by[","] or separator != ",")
    ]
    if len(proofs) == 2:
        return ("decided for each column by its own cells: " + "; ".join(proofs),)
    return tuple(proofs)


def _named(sign: str) -> str:
    return "decimal comma" if sign == "," else "decimal point"


def _ambiguous(line: int, sign: str) -> Undecided:
    if sign == ",":
        what = public("a comma before three digits may be a decimal comma or stand between thousands")
        return Undecided(line, what, 'set which one it is: [data] decimal = "," or decimal = "."')
    what = public("a point before three digits may be a decimal point or stand between thousands")
    return Undecided(line, what, 'set which one it is: [data] decimal = "." or decimal = ","')


def _conflict(evidence: Evidence) -> Undecided:
    lines = sorted(evidence.proves(sign) for sign in ",.")
    what = public("decimal commas and decimal points in one column (see line {line} too)", line=lines[1])
    return Undecided(lines[0], what, 'set which one is meant: [data] decimal = "," or decimal = "."')
