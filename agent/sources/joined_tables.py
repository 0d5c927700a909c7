"""Joins the tables of all files of a device: columns by name, rows in the order of the files or of time."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.sources import times
from agent.sources.column_faults import faults_of, require_column, unread_cells
from agent.sources.dropped_rows import DroppedRows, First, dropped_rows
from agent.sources.file_copies import beginning, refuse_copies
from agent.sources.rotation import log_of
from agent.sources.samples import Ahead, LeftOut, Samples, number
from agent.sources.table import Table
from agent.sources.time_order import refuse_sensors, rows_ahead, time_order


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
    """Join the rows of the tables. At least one table must have a row.

    A table whose rows were all dropped as too old is still checked: it may be a copy of another one, or a
    sensor of the same recording. Its columns do not matter.

    Args:
        path: the file or folder of the source.
        tables: the tables, in the order of their files.
        label: the column of class names; None: there are no answers.
        series: the column that names a row's recording; None: each file is one recording.
        time: the column by which rows are put in order; None: they stay in the order of the files.
        reading: how the files were understood, for the owner.
        left_out: the lines that could not be read.
        now_s: the time by the device's clock, in seconds since 1970.

    Raises:
        DataError: a column that the owner's settings name does not exist, or occurs twice; two files begin
            with the same rows; or the files are the sensors of one recording.
    """
    refuse_sensors(path, tables)
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
            require_column(tables, setting, name)
    where = {name: j for j, name in enumerate(names)}
    faults = {where[name]: fault for name, fault in faults_of(tables, names, series).items()}
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
    unread = unread_cells(tables, names)
    faults = {
        j: replace(fault, is_text=True) for j, (_, fault, is_text) in unread.items() if is_text
    } | faults
    blocks = tuple(zip([str(table.file) for table in tables], sizes, strict=True))
    order = None
    ahead: Ahead | None = None
    if time is not None:
        found = times.seconds([table.columns.times for table in tables])
        order, told = time_order(path, tables, time, found)
        reading = (*reading, told)
        ahead = rows_ahead(found, order, now_s, [table.columns.gone for table in every])
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
        earlier=None if seen == sum(sizes) else _dropped(every, whose, recordings, series),
    )


def _dropped(
    tables: Sequence[Table], whose: Sequence[str], recordings: NDArray[np.int64], series: str | None
) -> DroppedRows:
    """Return the dropped rows of recordings. `whose` names each recording that is used at least once."""
    rows: dict[str, int] = {}
    first: dict[str, First] = {}
    for n, table in enumerate(tables):
        for text, count in table.columns.forgotten.rows.items():
            name = text if series is not None else str(log_of(table.file))
            time, line = table.columns.forgotten.first[text]
            rows[name] = rows.get(name, 0) + count
            first[name] = min(first.get(name, (time, n, line)), (time, n, line))
    return dropped_rows(np.unique(whose).tolist(), recordings, rows, first)


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
    """Return the rounding of a column to float32; None: float32 is enough for it in all tables."""
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
    """Return the labels, and their name in the data for messages; None: no column can be used for them."""
    answer = f"column {label!r}"
    if label is None or not any(label in table.columns.names for table in tables):
        return None, answer
    for table in tables:
        if label not in table.columns.names:
            return None, f"{answer} in {table.file}"
        if (pair := table.columns.doubles.get(label)) is not None:
            return None, f"{answer} that occurs once (columns {pair[0] + 1} and {pair[1] + 1} have the name)"
    return np.array([text for table in tables for text in table.columns.texts[label]]), answer
