"""Detects a line of units below the header: text above columns of numbers. Pure."""

from collections.abc import Sequence

from agent.sources.header import is_time, looks_like_number


def holds_units(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the second of these rows holds units: text above columns that hold only numbers.

    >>> holds_units([["t", "heat"], ["s", "degC"], ["0", "21.5"], ["1", "21.7"]])
    True
    >>> holds_units([["t", "heat"], ["0", "error"], ["1", "21.5"], ["2", "21.7"]])
    False
    """
    if len(rows) < 4 or len({len(row) for row in rows[:4]}) > 1:
        return False
    sample = [row for row in rows[2:] if len(row) == len(rows[0])]
    if any(looks_like_number(cell) or is_time(cell) for cell in rows[1]):
        return False
    if any(cell.strip() and any(cell == row[j] for row in sample) for j, cell in enumerate(rows[1])):
        return False  # a class or a state that occurs in later rows too
    numbers = [
        j
        for j in range(len(rows[0]))
        if all(looks_like_number(row[j]) for row in sample if row[j].strip())
        and any(row[j].strip() for row in sample)
    ]
    above = [rows[1][j].strip() for j in numbers]
    return any(above) and not any(cell.lower() in _NO_UNITS for cell in above if cell)


_NO_UNITS = frozenset(
    {"-", "?", "na", "n/a", "nan", "none", "null", "unavailable", "unknown", "#n/a", "\\n", "error"}
)
