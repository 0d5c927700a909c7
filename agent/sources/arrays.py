"""Samples from arrays, wherever they came from: the checks that archives and functions share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources.samples import Samples, number
from fedge.errors import DataError


def samples_from_arrays(
    name: str, X: Any, y: Any = None, series: Any = None, features: Any = None
) -> Samples:
    """Check arrays that belong together.

    Args:
        name: the source, which error messages begin with.
        X: numbers of shape (n, d), NaN where missing.
        y: labels of shape (n,), text or integers; or numbers of shape (n,) or (n, t).
        series: text or integers of shape (n,); None: all rows are one recording.
        features: names of the d columns, all different.

    Raises:
        DataError: a wrong shape, kind or length; names the array.
    """
    X = _array(name, "X", X)
    if X.ndim != 2 or X.dtype.kind not in "fiub":
        raise DataError(f"{name}: X must be numbers of shape (samples, features), got {_seen(X)}")
    if len(X) == 0:
        raise DataError(f"{name}: X has no rows, its shape is {X.shape}")
    if X.shape[1] == 0:
        raise DataError(f"{name}: X has no columns, its shape is {X.shape}")
    if y is not None:
        y = _text(name, "y", _array(name, "y", y))
        if y.dtype.kind not in "fiubU" or not (y.ndim == 1 or (y.ndim == 2 and y.dtype.kind in "fiub")):
            raise DataError(
                f"{name}: y must be labels of shape (samples,) or numbers of shape (samples, targets), "
                f"got {_seen(y)}"
            )
        _check_length(name, "y", y, X)
    if series is not None:
        series = _text(name, "series", _array(name, "series", series))
        if series.ndim != 1 or series.dtype.kind not in "iuU":
            raise DataError(
                f"{name}: series must be names or integers of shape (samples,), got {_seen(series)}"
            )
        _check_length(name, "series", series, X)
    with np.errstate(over="ignore"):
        X32 = np.array(X, dtype=np.float32, order="C")  # a copy: a function may go on using its own
    columns = None if features is None else _columns(name, features, X.shape[1])
    beyond = np.isinf(X32)
    faults = {
        int(j): f"{name}: row {beyond[:, j].argmax()}, column {columns[j] if columns else int(j)!r}: "
        "infinite, or too large for a float32"
        for j in np.flatnonzero(beyond.any(axis=0))
    }
    return Samples(
        name=name,
        X=X32,
        columns=columns,
        y=None if y is None else np.array(y),
        answer="y",
        series=np.zeros(len(X), dtype=np.int64) if series is None else number(series),
        blocks=((name, len(X)),),
        faults=faults,
    )


def _array(name: str, key: str, value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, TypeError):
        raise DataError(f"{name}: {key} is no array: its rows differ in length") from None


def _text(name: str, key: str, array: NDArray[Any]) -> NDArray[Any]:
    """Bytes as text, and Python's own text objects as NumPy's; other arrays as they are."""
    if array.dtype.kind in "OT" and all(isinstance(item, str) for item in array.flat):
        return array.astype(np.str_)
    if array.dtype.kind != "S":
        return array
    try:
        return np.char.decode(array, "utf-8")
    except UnicodeDecodeError:
        raise DataError(f"{name}: {key} holds bytes that are not UTF-8 text") from None


def _columns(name: str, features: Any, width: int) -> tuple[str, ...]:
    array = _text(name, "features", _array(name, "features", features))
    if array.ndim != 1 or array.dtype.kind != "U" or len(array) != width:
        raise DataError(f"{name}: features must be the names of X's {width} columns, got {_seen(array)}")
    columns = tuple(str(column) for column in array)
    if len(set(columns)) != len(columns):
        twice = next(column for column in columns if columns.count(column) > 1)
        raise DataError(f"{name}: features: {twice!r} stands twice; give each column its own name")
    return columns


def _check_length(name: str, key: str, array: NDArray[Any], X: NDArray[Any]) -> None:
    if len(array) != len(X):
        raise DataError(f"{name}: {key} has {len(array)} rows, X has {len(X)}; they must belong together")


def _seen(array: NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"
