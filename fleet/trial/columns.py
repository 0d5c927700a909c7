"""Choose the columns to learn from: numbers that help with other rows, and are not the answer itself.

These columns are left out, because they do not help with other rows or reveal the answer: text, constant
columns, times and counters (they say when a row was measured, and future rows are at other times), ids, and
copies of the class under another name.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.sources import Samples
from fedge.data.disclosure import listing
from fedge.errors import DataError

MOST_MISSING = 0.5
"""A column that is empty in a larger share of the rows is left out."""
FEWEST_STEPS = 20
"""From this many steps on, a column that only rises is a time or a counter."""
TIMES = frozenset(
    {
        "clock",
        "date",
        "datetime",
        "epoch",
        "last_changed",
        "last_updated",
        "seconds_elapsed",
        "t",
        "time",
        "timestamp",
        "ts",
        "unixtime",
    }
)
IDS = frozenset({"guid", "id", "idx", "index", "row", "row_number", "rownum", "unnamed: 0", "uuid"})
"""Names, in any case and without a unit, of columns that identify a row, unless the values contradict."""
_EPOCHS = ((1e9, 4e9), (1e12, 4e12), (1e15, 4e15), (1e18, 4e18))
"""Unix time from 2001 to 2096 in seconds, ms, µs and ns."""


def unfit(samples: Samples, j: int, name: str, classes: NDArray[np.int64] | None) -> str | None:
    """The reason why column j, named `name`, is no feature; None: it can be one.

    Args:
        samples: n rows.
        j: the column's number.
        name: the column's name.
        classes: of shape (n,), each row's class as an index, -1 where it has none; None: a regression.
    """
    if (fault := samples.faults.get(j)) is not None:
        return f"is no column of numbers ({fault.place}: {fault.what})"
    values = samples.X[:, j].astype(np.float64)
    present = np.isfinite(values)
    if not present.any():
        return "holds no value"
    if (missing := 1 - present.mean()) > MOST_MISSING:
        return f"is empty in {missing:.0%} of the rows"
    plain = re.sub(r"[\s_]*[(\[].*", "", name).strip("_ ").casefold()
    steps = _steps(values, present, samples.series)
    if plain in TIMES and (is_epoch(values[present]) or not ((steps > 0).any() and (steps < 0).any())):
        return "is a time by its name"
    if len(steps) >= FEWEST_STEPS and _only_rises(steps, values[present]):
        return "only rises, as a time or a counter does"
    if values[present].min() == values[present].max():
        return "is always the same"
    whole = bool((values[present] == np.round(values[present])).all())
    if whole and (plain in IDS or plain.endswith(("_id", " id"))):
        return "is an id by its name"
    if classes is not None and _is_answer(values, classes, whole):
        return "has one value for each class: it is the answer under another name"
    return None


def _steps(
    values: NDArray[np.float64], present: NDArray[np.bool_], series: NDArray[np.int64]
) -> NDArray[np.float64]:
    """The differences of values from row to row within each recording."""
    rows = np.flatnonzero(present)
    order = rows[np.argsort(series[rows], kind="stable")]
    within = np.diff(series[order]) == 0
    return np.asarray(np.diff(values[order])[within])


def _only_rises(steps: NDArray[np.float64], values: NDArray[np.float64]) -> bool:
    """Whether values never fall, and rise at nearly every row or are Unix times.

    float32 rounds Unix times to steps of two minutes, so those need not rise at every row, or at all.
    """
    return bool((steps >= 0).all() and ((steps > 0).mean() > 0.9 or is_epoch(values)))


def is_epoch(values: NDArray[Any]) -> bool:
    """Whether all values, at least one, are Unix times of these decades."""
    return any(first <= values.min() and values.max() <= last for first, last in _EPOCHS)


def _is_answer(values: NDArray[np.float64], classes: NDArray[np.int64], whole: bool) -> bool:
    """Whether each class has one value of its own; with two classes only for whole numbers."""
    known = np.isfinite(values) & (classes >= 0)
    pairs = np.unique(np.stack([values[known], classes[known].astype(np.float64)]), axis=1)
    k = len(np.unique(pairs[1]))
    return k >= (2 if whole else 3) and pairs.shape[1] == k == len(np.unique(pairs[0]))


def choose(
    wanted: Sequence[str], features: Sequence[str], left_out: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Use the features that the caller asked for; all others are left out as not asked for."""
    others = dict.fromkeys(features, "was not asked for")
    return tuple(wanted), {n: why for n, why in (dict(left_out) | others).items() if n not in wanted}


def require(origin: str, columns: Sequence[str], role: str, name: str) -> None:
    """Make sure that a column exists.

    Raises:
        DataError: it does not; the text lists those that do, and which may be meant.
    """
    if name not in columns:
        raise DataError(
            f"{origin}: there is no column {name!r} for the {role}{nearest(name, columns)}; the columns are "
            f"{listing(columns)}"
        )


def nearest(name: str, names: Iterable[str]) -> str:
    """A suggestion for a misspelt name, or an empty text.

    >>> nearest("Activty", ["time", "activity"])
    " (did you mean 'activity'?)"
    """
    folded = {other.casefold(): other for other in names}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return f" (did you mean {folded[close[0]]!r}?)" if close else ""
