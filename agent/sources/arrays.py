"""Samples from arrays: the checks that archives and functions share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources.conversion import Plain, plain
from agent.sources.dropped_rows import DroppedRows, dropped_rows
from agent.sources.remainders import remainders
from agent.sources.samples import Fault, Samples, number
from fedge.data.disclosure import Known, public
from fedge.errors import DataError


def samples_from_arrays(
    name: str,
    X: Any,
    y: Any = None,
    series: Any = None,
    features: Any = None,
    *,
    newest: int | None = None,
    exact: bool = False,
) -> Samples:
    """Check arrays that belong together, and make samples of them.

    Args:
        name: the source's name in error messages.
        X: numbers of shape (n, d); a missing value is NaN, None or masked.
        y: labels of shape (n,), text or integers; or numbers of shape (n,) or (n, t). Values may be missing
            here too. None: there are no answers.
        series: text or integers of shape (n,); None: all rows are one recording.
        features: names of the d columns, all different.
        newest: how many of the last rows are used; None: all.
        exact: whether the rounding of float32 is kept for all columns, and not only where it may matter.

    Raises:
        DataError: an array has a wrong shape, type or length; the text names the array.
    """
    rows = _numbers(name, X)
    answers = None if y is None else _answers(name, y)
    if answers is not None:
        _check_length(name, "y", answers.data, rows)
    if series is not None:
        series = _series(name, series)
        _check_length(name, "series", series, rows)
    of, first, before = len(rows), 0, None
    if newest is not None and newest < of:
        first = of - newest
        before = _earlier(series, first, of)
        rows = rows[first:]
        answers = None if answers is None else Plain(answers.data[first:], answers.missing[first:])
        series = None if series is None else series[first:]
    with np.errstate(over="ignore"):
        X32 = np.array(
            rows, dtype=np.float32, order="C"
        )  # a copy: the owner's function may change its own later
    columns = None if features is None else _columns(name, features, rows.shape[1])
    return Samples(
        name=name,
        X=X32,
        rest=remainders(rows, X32, all_of_them=exact),
        columns=columns,
        y=None if answers is None else answers.data,
        answer="y",
        series=np.zeros(len(rows), dtype=np.int64) if series is None else number(series),
        blocks=((name, len(rows)),),
        faults=_faults(name, X32, columns, first),
        unanswered=None if answers is None or not answers.missing.any() else answers.missing,
        of=of if first else None,
        first_row=first,
        earlier=before,
    )


def _earlier(series: NDArray[Any] | None, first: int, n: int) -> DroppedRows:
    """Count the rows before the first one that is used, for each recording."""
    found = np.zeros(n, dtype=np.int64) if series is None else series
    gone, at, rows = np.unique(found[:first], return_index=True, return_counts=True)
    used, numbers = np.unique(found[first:], return_inverse=True)
    return dropped_rows(
        [str(name) for name in used],
        numbers.reshape(-1),
        {str(name): int(count) for name, count in zip(gone, rows, strict=True)},
        {str(name): (0.0, 0, int(row)) for name, row in zip(gone, at, strict=True)},
    )


def _numbers(name: str, value: Any) -> NDArray[Any]:
    """Return the features, with NaN for missing values."""
    X = plain(name, "X", value)
    data = X.data
    if data.ndim != 2 or data.dtype.kind not in "fiub":
        told = public("X must be numbers of shape (samples, features)")
        raise DataError(f"{name}: {told}, got {_seen(data)}", told)
    if data.size == 0:
        told = public("X has no rows") if len(data) == 0 else public("X has no columns")
        raise DataError(f"{name}: {told}, its shape is {data.shape}", told)
    return X.filled()


def _answers(name: str, value: Any) -> Plain:
    """Return labels or targets, and where they are missing. NaN marks a missing number."""
    y = plain(name, "y", value)
    data = _text(name, "y", y.data)
    if data.dtype.kind not in "fiubU" or not (
        data.ndim == 1 or (data.ndim == 2 and data.dtype.kind in "fiub")
    ):
        told = public("y must be labels of shape (samples,) or numbers of shape (samples, targets)")
        raise DataError(f"{name}: {told}, got {_seen(data)}", told)
    if data.ndim == 1 and data.dtype.kind != "f":
        return Plain(np.array(data), y.missing)
    filled = Plain(data, y.missing).filled()
    return Plain(np.array(filled), np.zeros(len(filled), dtype=bool))


def _series(name: str, value: Any) -> NDArray[Any]:
    series = plain(name, "series", value)
    data = _text(name, "series", series.data)
    if data.ndim != 1 or data.dtype.kind not in "iuU" or series.missing.any():
        told = public("series must be names or integers of shape (samples,), none of them missing")
        raise DataError(f"{name}: {told}, got {_seen(data)}", told)
    return data


def _faults(
    name: str, X: NDArray[np.float32], columns: tuple[str, ...] | None, first: int
) -> dict[int, Fault]:
    """Return the columns with an infinite value, and its place; `first` is the number of the first row."""
    beyond = np.isinf(X)
    what = public("infinite, or too large for a float32")
    faults = {}
    for j in np.flatnonzero(beyond.any(axis=0)):
        place = public("row {row}", row=first + int(beyond[:, j].argmax()))
        text = f"{name}: {place}, column {columns[j] if columns else int(j)!r}: {what}"
        faults[int(j)] = Fault(text, place, what)
    return faults


def _text(name: str, key: str, array: NDArray[Any]) -> NDArray[Any]:
    """Decode bytes to text; return other arrays unchanged."""
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError:
        told = public("{key} holds bytes that are not UTF-8 text", key=Known(key))
        raise DataError(f"{name}: {told}", told) from None


def _columns(name: str, features: Any, width: int) -> tuple[str, ...]:
    array = _text(name, "features", plain(name, "features", features).data)
    if array.ndim != 1 or array.dtype.kind != "U" or len(array) != width:
        told = public("features must be the names of X's {width} columns", width=width)
        raise DataError(f"{name}: {told}, got {_seen(array)}", told)
    columns = tuple(str(column) for column in array)
    for j, column in enumerate(columns):
        if (i := columns.index(column)) != j:
            raise DataError(
                f"{name}: features: {column!r} occurs twice; give each column its own name",
                public("features: columns {i} and {j} have one name", i=i, j=j),
            )
    return columns


def _check_length(name: str, key: str, array: NDArray[Any], X: NDArray[Any]) -> None:
    if len(array) != len(X):
        told = public(
            "{key} has {rows} rows, X has {samples}; they must belong together",
            key=Known(key),
            rows=len(array),
            samples=len(X),
        )
        raise DataError(f"{name}: {told}", told)


def _seen(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"
