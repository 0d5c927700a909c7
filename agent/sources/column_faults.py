"""Columns that cannot be used: absent from a table, there twice, ambiguous, or not numbers."""

from collections.abc import Sequence

from agent.sources.samples import Fault, Unread
from agent.sources.table import KEYS, Table
from fedge.data.disclosure import listing, public
from fedge.errors import DataError

TEXT = 9
"""A column is text if it has more than this many other cells for each cell that is a number."""


def require_column(tables: Sequence[Table], setting: str, name: str) -> None:
    """Check that each table has the column that a setting names, exactly once.

    Raises:
        DataError: a table has no such column, or two.
    """
    for table in tables:
        if name not in table.columns.names:
            line = table.columns.header.line
            raise table.nameless or DataError(
                f"{table.at(line)}: there is no column {name!r}, which [data] {setting} names; "
                f"the columns are {listing(table.columns.names)}",
                public("line {line}: there is no column of the name in [data] series", line=line)
                if setting == "series"
                else public("line {line}: there is no column of the name in [data] time", line=line),
            )
        if (pair := table.columns.doubles.get(name)) is not None:
            fault = _double(table, name, pair)
            raise DataError(fault.text, public("{place}: {what}", place=fault.place, what=fault.what))


def faults_of(tables: Sequence[Table], names: tuple[str, ...], series: str | None) -> dict[str, Fault]:
    """Return the columns that cannot be used because of their names or headers."""
    faults: dict[str, Fault] = {}
    for table in reversed(tables):
        columns = table.columns
        for j, found in columns.undecided.items():
            name, place = columns.header.names[j], public("line {line}", line=found.line)
            faults[name] = Fault(
                f"{table.file}: {place}, column {name!r}: {found.what}; {found.advice}", place, found.what
            )
        faults |= {name: _double(table, name, pair) for name, pair in columns.doubles.items()}
    for name in names:
        lacking = next((table for table in tables if name not in table.columns.names), None)
        if lacking is not None:
            having = next(table for table in tables if name in table.columns.names)
            if (nameless := lacking.nameless or having.nameless) is not None:
                raise nameless
            faults[name] = _lacking(lacking, having, name)
    for key, value in KEYS.items():
        kinds = set().union(*(table.columns.keys for table in tables if table.columns.key == key))
        if len(kinds) > 1 and series != key:
            faults[value] = _long(tables[0], key, value, len(kinds))
    return faults


def _double(table: Table, name: str, pair: tuple[int, int]) -> Fault:
    place = public("line {line}", line=table.columns.header.line)
    text = f"{table.file}: {place}: column {name!r} occurs twice; give each column its own name"
    return Fault(text, place, public("columns {i} and {j} have one name", i=pair[0] + 1, j=pair[1] + 1))


def _lacking(lacking: Table, having: Table, name: str) -> Fault:
    place = public("line {line}", line=lacking.columns.header.line)
    if lacking.file == having.file:
        where = (
            f"{place}: there is no column {name!r}, which the table of line {having.columns.header.line} has"
        )
        what = public("the tables of the file have different columns")
    else:
        where = f"{place}: there is no column {name!r}, which {having.file} has"
        what = public("the files of the folder have different columns")
    return Fault(
        f"{lacking.file}: {where}; all files of a folder, and all tables of a file, must have the columns "
        "that the task uses",
        place,
        what,
    )


def _long(table: Table, key: str, value: str, kinds: int) -> Fault:
    place = public("line {line}", line=table.columns.header.line)
    what = public("holds {kinds} kinds of readings in turn", kinds=kinds)
    advice = (
        "give each kind its own column with pivot() in the query"
        if key == "_field"
        else "give each kind its own column, or its own file"
    )
    return Fault(
        f"{table.file}: {place}, column {value!r}: {what}, and column {key!r} says which; {advice}, or set "
        f'[data] series = "{key}" if all measure the same',
        place,
        what,
    )


def unread_cells(tables: Sequence[Table], names: tuple[str, ...]) -> dict[int, tuple[Unread, Fault, bool]]:
    """Return by column: the cells that are not numbers, the first one, and whether the column is text."""
    found: dict[int, tuple[Unread, Fault, bool]] = {}
    for j, name in enumerate(names):
        count = numbers = 0
        first: tuple[Fault, int] | None = None
        before = 0
        for table in tables:
            columns = table.columns
            if name in columns.names:
                about = columns.unreadable(name)
                count, numbers = count + about.count, numbers + about.numbers
                if about.count and first is None:
                    place = public("line {line}", line=int(columns.lines[about.row]))
                    text = f"{table.file}: {place}, column {name!r}: {about.what}"
                    first = Fault(text, place, about.what), before + about.row
            before += columns.rows
        if first is not None:
            about_all = Unread(count, before, first[0], first[1])
            found[j] = about_all, first[0], count > TEXT * numbers
    return found
