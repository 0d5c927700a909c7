"""Which rows a device trains on, and which it keeps for evaluation and never trains on.

By `time` the last part of each series is held out. As the series grows, the border moves with it. By `every`,
`random` and `series` a row's part follows from its position alone: its number in its series, and the series'
number in the order of appearance. Rows that were dropped as too old count too. So no row changes its part
when other rows are appended.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from agent.settings.data import By
from agent.sources.dropped_rows import DroppedRows

Rows = NDArray[np.intp]
_ROUNDING = 1e-9
"""Added before rounding down, because 0.29 · 100 is 28.999… in binary."""
AHEAD = 1_024
"""How many rows before or after the series are examined together. A gap may be a million rows."""
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def divide(
    series: NDArray[np.int64], part: float, gap: int, by: By = "time", earlier: DroppedRows | None = None
) -> tuple[Rows, Rows]:
    """Divide rows into training rows, held-out rows, and rows that are in neither part.

    Args:
        series: shape (n,), the recording that each row belongs to. Rows of one recording are in the order of
            time.
        part: the share of rows to hold out; by `time` it is rounded down to whole rows.
        gap: the number of rows of the same series that are in neither part: by `time` before the first
            held-out row, by `every` and `random` before and after each held-out row, by `series` none.
        by: `time`, the last rows of each series; `every`, the last of each 1 / part rows of a series;
            `random`, each row with the probability `part`, by a hash of its position; `series`, the last of
            each 1 / part series, in the order in which they appear.
        earlier: the dropped rows before these; None: there were none.

    Returns:
        The indices of the training and of the held-out rows, each ascending.
    """
    training, held = np.zeros(len(series), dtype=np.bool_), np.zeros(len(series), dtype=np.bool_)
    for nth, rows in enumerate(by_appearance(series)):
        number, start = nth, 0
        if earlier is not None:
            number, start = int(earlier.place[series[rows[0]]]), int(earlier.rows[series[rows[0]]])
        if by == "time":
            kept = int(len(rows) * part + _ROUNDING)
            first = len(rows) - kept
            held[rows[first:]] = True
            training[rows[: max(first - gap, 0) if kept else first]] = True
        elif by == "series":
            (held if _every(np.array([number]), part)[0] else training)[rows] = True
        else:
            chosen = _every if by == "every" else _at_random(number)
            near, own = _near(chosen, start, len(rows), part, gap)
            held[rows[own]] = True
            training[rows[~near]] = True
    return np.flatnonzero(training), np.flatnonzero(held)


def divide_rest(
    series: NDArray[np.int64],
    training: Rows,
    part: float,
    share: float,
    gap: int,
    by: By = "time",
    earlier: DroppedRows | None = None,
) -> tuple[Rows, Rows]:
    """Divide the training rows of `divide` once more, by the same rule.

    By `time` the last of them are chosen in each series, so that a row which was trained on is never chosen
    later. Otherwise a row's position in its whole series decides, among those that are not held out.

    Args:
        series: shape (n,), as for `divide`, of all rows.
        training: the rows to divide, ascending.
        part: the share of rows that `divide` has held out.
        share: the share of the other rows to choose.
        gap: as for `divide`, between the rows that stay and the chosen ones.
        by: as for `divide`.
        earlier: as for `divide`.

    Returns:
        The rows of `training` that stay, and those that are chosen, each ascending. Rows in a gap are in
        neither.
    """
    if by == "time":
        stay, chosen = divide(series[training], share, gap)
        return training[stay], training[chosen]
    staying, picked = np.zeros(len(series), dtype=np.bool_), np.zeros(len(series), dtype=np.bool_)
    for nth, rows in enumerate(by_appearance(series)):
        number, start = nth, 0
        if earlier is not None:
            number, start = int(earlier.place[series[rows[0]]]), int(earlier.rows[series[rows[0]]])
        if by == "series":
            own = _among_rest(_every, part)(np.array([number]), share)[0]
            (picked if own else staying)[rows] = True
            continue
        chosen_of = _among_rest(_every, part) if by == "every" else _next_at_random(number, part)
        near, mine = _near(chosen_of, start, len(rows), share, gap)
        picked[rows[mine]] = True
        staying[rows[~near]] = True
    return np.intersect1d(training, np.flatnonzero(staying)), np.intersect1d(training, np.flatnonzero(picked))


def by_appearance(series: NDArray[np.int64]) -> list[Rows]:
    """Return the rows of each series, ascending. The series are in the order of their first rows."""
    order = np.argsort(series, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(series[order])) + 1)
    return sorted((rows for rows in parts if len(rows)), key=lambda rows: int(rows[0]))


def without_held(series: NDArray[np.int64], held: Rows, by: By) -> int:
    """Count the series without a held-out row, usually because they are too short.

    By whole `series`, the count is 0 if one is held out. Otherwise it is the number of all series, of which
    there are too few.
    """
    whole = len(np.unique(series))
    if by == "series":
        return 0 if len(held) else whole
    return whole - len(np.unique(series[held]))


Chosen = Callable[[NDArray[np.int64], float], NDArray[np.bool_]]


def _near(
    chosen: Chosen, start: int, rows: int, part: float, gap: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which rows of a series are within `gap` of a held-out row, and which are held out.

    Held-out rows that were dropped, or that will be appended later, count too: no row may be trained on that
    is or will be too near to one.

    Args:
        chosen: decides which row numbers are held out.
        start: the number of the first row in its series.
        rows: the number of rows.
        part: the share of rows to hold out.
        gap: the number of rows of distance that a training row must keep.

    Returns:
        Two masks of shape (rows,).
    """
    if part == 0:
        return np.zeros(rows, dtype=np.bool_), np.zeros(rows, dtype=np.bool_)
    numbers = np.arange(start, start + rows)
    own = chosen(numbers, part)
    before, coming = _gone(chosen, start, part, gap), _coming(chosen, start + rows, part, gap)
    held = np.concatenate(([before], start + np.flatnonzero(own), [coming]))
    behind = np.searchsorted(held, numbers)  # index of the first held-out row at or after each row
    near = (held[behind] - numbers <= gap) | (numbers - held[behind - 1] <= gap)
    return near, own


def _gone(chosen: Chosen, start: int, part: float, gap: int) -> float:
    """Return the number of the last dropped held-out row within `gap`; minus infinity: there is none."""
    lowest = max(start - gap, 0)
    for end in range(start, lowest, -AHEAD):
        first = max(end - AHEAD, lowest)
        found = np.flatnonzero(chosen(np.arange(first, end), part))
        if len(found):
            return first + int(found[-1])
    return -np.inf


def _coming(chosen: Chosen, rows: int, part: float, gap: int) -> float:
    """Return the number of the first future held-out row within `gap`; infinity: there is none."""
    for first in range(rows, rows + gap, AHEAD):
        found = chosen(np.arange(first, min(first + AHEAD, rows + gap)), part)
        if found.any():
            return first + int(found.argmax())
    return np.inf


def _every(numbers: NDArray[np.int64], part: float) -> NDArray[np.bool_]:
    """Choose the last of each 1 / part numbers: those at which count times part reaches a whole number."""
    after, before = np.floor((numbers + 1) * part + _ROUNDING), np.floor(numbers * part + _ROUNDING)
    return np.asarray(after > before, dtype=np.bool_)


def _among_rest(chosen: "Chosen", part: float) -> "Chosen":
    """Choose among the numbers that `chosen` leaves of `part`, counted without those that it takes."""

    def of_rest(numbers: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
        taken = np.floor(numbers * part + _ROUNDING).astype(np.int64)  # how many before each number
        return np.asarray(~chosen(numbers, part) & chosen(numbers - taken, share), dtype=np.bool_)

    return of_rest


def _next_at_random(series: int, part: float) -> "Chosen":
    """Choose by the same hash as `_at_random` the share that comes after the first `part`."""
    chosen = _at_random(series)

    def of_rest(numbers: NDArray[np.int64], share: float) -> NDArray[np.bool_]:
        return np.asarray(chosen(numbers, part + (1 - part) * share) & ~chosen(numbers, part), dtype=np.bool_)

    return of_rest


def _at_random(series: int) -> Chosen:
    """Choose by a hash of number and series: the finalizer of SplitMix64, as in `agent.data.snapshot`."""

    def chosen(numbers: NDArray[np.int64], part: float) -> NDArray[np.bool_]:
        with np.errstate(over="ignore"):
            words = numbers.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(series + 1)
            for shift, factor in zip((30, 27), _MIX, strict=True):
                words = (words ^ (words >> np.uint64(shift))) * factor
            words ^= words >> np.uint64(31)
        return np.asarray((words >> np.uint64(11)).astype(np.float64) * 2.0**-53 < part, dtype=np.bool_)

    return chosen
