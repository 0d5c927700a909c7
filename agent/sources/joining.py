"""The tables of all files of a device as one: columns by names, rows in the order of files or of time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.sources import times
from agent.sources.columns import Columns
from agent.sources.copies import beginning, refuse_copies
from agent.sources.earlier import Earlier, First, Gone, earlier
from agent.sources.newest import days_end
from agent.sources.rotation import log_of
from agent.sources.samples import Ahead, Fault, LeftOut, Samples, Unread, number
from fedge.data.disclosure import listing, public
from fedge.errors import DataError

KEYS = {"_field": "_value", "entity_id": "state"}
"""Columns of InfluxDB and Home Assistant that say what another column holds in the row."""
TEXT = 9
"""A column is text if it has more than this many other cells for each cell that is a number."""


@dataclass(frozen=True)
class Table:
    """One table of one file, with rows."""

    file: Path
    columns: Columns
    nameless: DataError | None
    """The message to give if the header looks like data."""

    def at(self, line: int) -> str:
        """A line of it, for its owner."""
        return f"{self.file}: line {line}"


def key_of(names: Sequence[str]) -> str | None:
    """The column that says what is measured in each row, if there is one."""
    return next((key for key, value in KEYS.items() if key in names and value in names), None)


def join(
    path: Path,
    tables: Sequence[Table],
    label: str | None,
    series: str | None,
    time: str | None,
    reading: tuple[str, ...],
    left_out: LeftOut | None,
    now_s: float,
) -> Samples:
    """All rows of the tables, at least one of which has one.

    A table whose rows were all dropped as too old still counts as a copy, or as a sensor of the same
    recording. Its columns do not matter.

    Raises:
        DataError: a column that the owner's settings name does not exist, or occurs twice; or the files are
            the sensors of one recording.
    """
    _refuse_sensors(path, tables)
    firsts = {table.file: table.columns for table in reversed(tables)}
    if len(firsts) > 1:
        refuse_copies(
            [beginning(file, firsts[file].names, firsts[file].first_lines) for file in sorted(firsts)]
        )
    seen = sum(table.columns.seen for table in tables)
    every = tables
    tables = [table for table in tables if table.columns.rows]
    names = tuple(dict.fromkeys(name for table in tables for name in table.columns.names))
    for setting, name in (("series", series), ("time", time)):
        if name is not None:
            _require(tables, setting, name)
    where = {name: j for j, name in enumerate(names)}
    faults = {where[name]: fault for name, fault in _faults(tables, names, series).items()}
    sizes = [table.columns.rows for table in tables]
    X = _stacked(tables, names)
    rest = {j: more for j, name in enumerate(names) if (more := _rest(tables, name)) is not None}
    y, answer = _answers(tables, label)
    if series is not None:
        whose = [text for table in tables for text in table.columns.texts[series]]
        recordings = number(whose)
    else:
        whose = [str(log_of(table.file)) for table in tables]
        recordings = np.repeat(number(whose), sizes)
    lines = np.concatenate([table.columns.lines for table in tables])
    unread = _unread(tables, names)
    faults = {
        j: replace(fault, is_text=True) for j, (_, fault, is_text) in unread.items() if is_text
    } | faults
    blocks = tuple(zip([str(table.file) for table in tables], sizes, strict=True))
    order = None
    ahead: Ahead | None = None
    if time is not None:
        found = times.seconds([table.columns.times for table in tables])
        order, told = _order(path, tables, time, found)
        reading = (*reading, told)
        ahead = _ahead(found, order, now_s, [table.columns.gone for table in every])
    if order is not None:
        files = np.repeat(np.arange(len(tables)), sizes)[order]
        cuts = np.flatnonzero(np.diff(files)) + 1
        starts = np.concatenate(([0], cuts, [len(files)]))
        blocks = tuple((blocks[files[start]][0], end - start) for start, end in pairwise(starts.tolist()))
        places = np.argsort(order)
        unread = {
            j: (replace(about, row=int(places[about.row])), fault, is_text)
            for j, (about, fault, is_text) in unread.items()
        }
        X, recordings, lines = X[order], recordings[order], lines[order]
        y = y[order] if y is not None else None
        rest = {j: more[order] for j, more in rest.items()}
    return Samples(
        name=str(path),
        X=X,
        rest=rest,
        columns=names,
        y=y,
        answer=answer,
        series=recordings,
        blocks=blocks,
        lines=lines,
        faults=faults,
        nameless=next((table.nameless for table in tables if table.nameless is not None), None),
        reading=reading,
        left_out=left_out,
        unread={j: about for j, (about, _, is_text) in unread.items() if not is_text},
        ahead=ahead,
        of=None if seen == sum(sizes) else seen,
        earlier=None if seen == sum(sizes) else _earlier(every, whose, recordings, series),
    )


def _earlier(
    tables: Sequence[Table], whose: Sequence[str], recordings: NDArray[np.int64], series: str | None
) -> Earlier:
    """The dropped rows of recordings; `whose` has the names of those that are used, at least once each."""
    rows: dict[str, int] = {}
    first: dict[str, First] = {}
    for n, table in enumerate(tables):
        for text, count in table.columns.forgotten.rows.items():
            name = text if series is not None else str(log_of(table.file))
            time, line = table.columns.forgotten.first[text]
            rows[name] = rows.get(name, 0) + count
            first[name] = min(first.get(name, (time, n, line)), (time, n, line))
    return earlier(np.unique(whose).tolist(), recordings, rows, first)


def _stacked(tables: Sequence[Table], names: tuple[str, ...]) -> NDArray[np.float32]:
    if len(tables) == 1:
        return tables[0].columns.X
    X = np.full((sum(table.columns.rows for table in tables), len(names)), np.nan, dtype=np.float32)
    first = 0
    for table in tables:
        has = table.columns.names
        rows = slice(first, first + table.columns.rows)
        X[rows, [names.index(name) for name in has]] = table.columns.X
        first = rows.stop
    return X


def _rest(tables: Sequence[Table], name: str) -> NDArray[np.float64] | None:
    """The rounding of a column to float32; None: float32 is enough for it in all tables."""
    found = [table.columns.rest(name) for table in tables]
    if len(found) == 1 or all(each is None for each in found):
        return found[0]
    return np.concatenate(
        [
            np.zeros(table.columns.rows) if each is None else each
            for each, table in zip(found, tables, strict=True)
        ]
    )


def _answers(tables: Sequence[Table], label: str | None) -> tuple[NDArray[np.str_] | None, str]:
    """The labels, and their name in the data."""
    answer = f"column {label!r}"
    if label is None or not any(label in table.columns.names for table in tables):
        return None, answer
    for table in tables:
        if label not in table.columns.names:
            return None, f"{answer} in {table.file}"
        if (pair := table.columns.doubles.get(label)) is not None:
            return None, f"{answer} that stands once (columns {pair[0] + 1} and {pair[1] + 1} have the name)"
    return np.array([text for table in tables for text in table.columns.texts[label]]), answer


def _require(tables: Sequence[Table], setting: str, name: str) -> None:
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


def _faults(tables: Sequence[Table], names: tuple[str, ...], series: str | None) -> dict[str, Fault]:
    """The columns that cannot be used, whatever their cells hold."""
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
    text = f"{table.file}: {place}: column {name!r} stands twice; give each its own name"
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
        f"{lacking.file}: {where}; all files of a folder, and all tables of a file, have the columns that "
        "are asked for",
        place,
        what,
    )


def _long(table: Table, key: str, value: str, kinds: int) -> Fault:
    place = public("line {line}", line=table.columns.header.line)
    what = public("holds {kinds} kinds of readings in turn", kinds=kinds)
    advice = (
        "pivot() in the query gives each a column" if key == "_field" else "give each a column, or a file"
    )
    return Fault(
        f"{table.file}: {place}, column {value!r}: {what}, column {key!r} says which; {advice}, or say "
        f'[data] series = "{key}" if all measure the same',
        place,
        what,
    )


def _unread(tables: Sequence[Table], names: tuple[str, ...]) -> dict[int, tuple[Unread, Fault, bool]]:
    """By column: its cells that are no number, the first, and whether the column is text altogether."""
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


def _ahead(
    found: NDArray[np.float64], order: NDArray[np.intp] | None, now_s: float, gone: Sequence[Gone]
) -> Ahead | None:
    """The rows whose time is in the future; `gone`: the dropped ones."""
    there = np.flatnonzero(times.ahead(found, now_s))
    if not len(there):
        return None
    first = int(there[0])
    return Ahead(
        len(there),
        int(np.isfinite(found).sum()),
        first if order is None else int(np.flatnonzero(order == first)[0]),
        times.written(float(found[first])),
        times.written(now_s),
        times.written(days_end(found, now_s, gone)),
    )


def _order(
    path: Path, tables: Sequence[Table], time: str, found: NDArray[np.float64]
) -> tuple[NDArray[np.intp] | None, str]:
    """The rows in the order of time, and a note about it for the owner."""
    unknown = sum(int(table.columns.times.unknown.sum()) for table in tables)
    if np.isnan(found).all():
        told = public("no cell of the column that [data] time names is a time")
        raise DataError(f"{path}: column {time!r}: {told}; ISO 8601 is, and seconds since 1970", told)
    order = times.order(found)
    told_ = f"rows are in the order of column {time!r}" + ("" if order is None else ", not as they stand")
    if unknown:
        told_ += f"; {unknown} rows without a time stay behind the row before them"
    return order, told_


def _refuse_sensors(path: Path, tables: Sequence[Table]) -> None:
    """Refuse files of Sensor Logger: each holds one sensor, at the same times, so they are no further
    rows."""
    sensors = [
        (table.columns.times.span, table.file.name)
        for table in tables
        if "seconds_elapsed" in table.columns.names
    ]
    spans = sorted((*span, name) for span, name in sensors if span is not None)
    for one, other in pairwise(spans):
        if other[0] < one[1] and one[2] != other[2]:
            told = public(
                "the files are sensors of one recording; they must be joined by time, not row by row"
            )
            raise DataError(
                f"{path}: {one[2]}, {other[2]}: {told}: one file with a column for each sensor, or name one "
                "of the files in [data] path",
                told,
            )
