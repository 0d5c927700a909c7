"""Lines before the header: the formats of loggers that write more than the names of the columns.

Sources: Campbell Scientific, "TOA5" (LoggerNet manual, appendix B: four lines, environment, names, units,
processing); NI, "Specification for the LabVIEW Measurement File (.lvm)"; InfluxData, "Annotated CSV"; the
`sep=` line is Excel's own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

_SEP = re.compile(r"\"?sep=(.)\"?\s*", re.IGNORECASE)
END = "***End_of_Header***"
SPECIAL, SPECIAL_END = "***Start_Special***", "***End_Special***"


class Form(Enum):
    """The format that the beginning of a file shows."""

    PLAIN = auto()
    TOA5 = auto()
    """Campbell Scientific's: a line about the logger, then names, units and processing."""
    LABVIEW = auto()
    """NI's: a header of the file, then a header of each segment."""
    INFLUX = auto()
    """InfluxDB's annotated CSV: `#group`, `#datatype`, `#default` before each table."""
    HOME_ASSISTANT = auto()
    """The history that Home Assistant's frontend saves: a row lacks the cells of other kinds of entities."""
    JSON_LINES = auto()
    """A JSON object in each line."""


@dataclass(frozen=True)
class Preamble:
    """What the lines before the header of a file state."""

    form: Form = Form.PLAIN
    lines: int = 0
    """The number of lines before the header, or, in LabVIEW's form, before the first segment."""
    separator: str | None = None
    """The separator; None: not stated."""
    decimal: str | None = None
    """The decimal sign; None: not stated."""
    reading: tuple[str, ...] = ()
    """How the lines were understood, for the owner."""


def read_preamble(lines: Sequence[str], skip: int) -> Preamble:
    """Examine the first lines of a file, after the `skip` lines that the owner has excluded."""
    at = skip
    while at < len(lines) and not lines[at].strip():
        at += 1
    if at >= len(lines):
        return Preamble(lines=skip)
    first = lines[at]
    if found := _SEP.fullmatch(first):
        sign = found[1]
        return Preamble(
            lines=at + 1, separator=sign, reading=(f"line {at + 1} sets the separator, {sign!r}",)
        )
    if first.startswith("LabVIEW Measurement"):
        return _labview(lines, at)
    if first.startswith(('"TOA5"', "TOA5,")):
        told = "TOA5: line 2 of its header holds the names, lines 3 and 4 hold units and processing"
        return Preamble(Form.TOA5, at + 1, ",", ".", (told,))
    if first.startswith(("#group", "#datatype", "#default")):
        return Preamble(Form.INFLUX, at, ",", ".", ("InfluxDB's annotated CSV",))
    if first.lstrip().startswith("{"):
        return Preamble(Form.JSON_LINES, at, reading=("JSON: an object in each line",))
    if first.replace('"', "").startswith("entity_id,state,last_changed"):
        told = "Home Assistant's history: cells that a row lacks at its end are missing values"
        return Preamble(Form.HOME_ASSISTANT, skip, ",", ".", (told,))
    return Preamble(lines=skip)


def _labview(lines: Sequence[str], at: int) -> Preamble:
    separator, decimal = "\t", "."
    end = len(lines)
    for number, line in enumerate(lines[at:], at):
        tag, *values = re.split(r"[\t,]", line.strip(), maxsplit=1)
        if tag == "Separator" and values:
            separator = "," if values[0].strip().startswith("Comma") else "\t"
        if tag == "Decimal_Separator" and values and values[0].strip()[:1] in (",", "."):
            decimal = values[0].strip()[0]
        if tag == END:
            end = number + 1
            break
    told = f"a LabVIEW measurement: its header sets the separator and the decimal sign, {decimal!r}"
    return Preamble(Form.LABVIEW, end, separator, decimal, (told,))
