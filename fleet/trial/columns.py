"""Which columns can be learnt from: numbers that say something, and not which row or which device it is."""

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from fleet.trial.table import Table

MOSTLY = 0.5
"""A column with more than this part of its values missing is left out."""
TIMES = {"time", "timestamp", "date", "datetime", "ts", "epoch", "seconds_elapsed", "clock", "t"}
IDS = {"id", "index", "idx", "row", "rownum", "row_number", "uuid", "guid", "unnamed: 0"}
"""Names, in any case, that only say which row it is, where the values do not contradict."""


def usable(tables: Sequence[Table], answers: Iterable[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Choose the features.

    Left out is a column that is not numbers, that not all devices have, that is mostly empty or the same
    everywhere; a time or counter (it grows from row to row on every device, or is called so and never falls);
    an id (whole numbers, the same within each device and another on each, or called so); and one that tells
    the label one to one.

    Args:
        tables: of all devices.
        answers: columns that are asked for, or that say which recording a row belongs to.

    Returns:
        The features in the order of the first device's columns, and of the others why not.
    """
    told = set(answers)
    everywhere = [name for name in tables[0].columns if all(name in table.columns for table in tables)]
    reasons: dict[str, str] = {}
    for table in tables:
        for name in table.columns:
            if name not in told and name not in everywhere and name not in reasons:
                here = sum(name in other.columns for other in tables)
                reasons[name] = f"only {here} of {len(tables)} devices have it"
    features = []
    for name in everywhere:
        if name in told:
            continue
        reason = next(_against(tables, name), None)
        if reason is None:
            features.append(name)
        else:
            reasons[name] = reason
    return tuple(features), reasons


def _against(tables: Sequence[Table], name: str) -> Iterator[str]:
    """What speaks against a column that all devices have."""
    for table in tables:
        if name in table.faults:
            yield f"holds something else than numbers{_place(table, name)}"
    parts = [table.column(name).astype(np.float64) for table in tables]
    present = [part[~np.isnan(part)] for part in parts]
    values = np.concatenate(present)
    rows = sum(map(len, parts))
    if len(values) < (1 - MOSTLY) * rows:
        yield f"{rows - len(values)} of {rows} values are missing"
        return
    if values.min() == values.max():
        yield f"is always {values[0]:g}"
        return
    whole, plain = bool((values == np.round(values)).all()), _bare(name)
    filled = [part for part in present if len(part)]
    if all(len(part) > 1 and (np.diff(part) > 0).all() for part in filled):
        yield "grows from row to row on every device: a time or a counter"
    if plain in TIMES and all((np.diff(part) >= 0).all() for part in filled):
        yield "is a time"
    if whole and (plain in IDS or plain.endswith(("_id", " id"))):
        yield "is an id"
    constants = [part[0] for part in filled if part.min() == part.max()]
    if whole and len(constants) == len(filled) > 1 and len(set(constants)) == len(constants):
        yield "is the same within each device and another on each: an id of the device"
    if whole and _tells_label(tables, name):
        yield "tells the label one to one: it would be the answer, not a measurement"


def _place(table: Table, name: str) -> str:
    """Where something else was met first, without the file and the column, which are known."""
    found = re.search(r"(line \d+).*: (.+)$", table.faults[name], re.DOTALL)
    return f" ({found[1]}: {found[2]})" if found is not None else ""


def _bare(name: str) -> str:
    """A column's name in small letters and without its unit.

    >>> _bare("Time (s)"), _bare("Timestamp [ms]"), _bare("t")
    ('time', 'timestamp', 't')
    """
    return re.sub(r"[\s_]*[(\[].*", "", name).strip("_ ").casefold()


def _tells_label(tables: Sequence[Table], name: str) -> bool:
    """Whether each value stands for one class and each class for one value, of at least two."""
    pairs: set[tuple[float, str]] = set()
    for table in tables:
        if table.labels is None:
            return False
        for value, label in zip(table.column(name).tolist(), table.labels.tolist(), strict=True):
            if value == value and label:
                pairs.add((value, label))
        if len(pairs) > 1_000:
            return False
    values, labels = {value for value, _ in pairs}, {label for _, label in pairs}
    return len(values) == len(labels) == len(pairs) > 1
