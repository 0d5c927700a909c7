"""Detects commas between cells that may be decimal commas: the header `temp,` above the row `20,5`. Pure."""

import json
from dataclasses import dataclass

import numpy as np

from agent.sources.samples import Samples


@dataclass(frozen=True)
class Torn:
    """A column of whole numbers, followed by a column without a name that also holds whole numbers."""

    column: str
    row: int
    """The first row in which both have a value."""
    cells: str
    """The cells as they are in the file: `20,5`."""
    as_two: str
    """The cells read as two numbers: `20 and 5`."""
    as_one: str
    """The cells read as one number: `20.5`."""
    remedy: str
    """What the owner can do."""


def torn(samples: Samples) -> Torn | None:
    """Find out whether a file separated by commas may hold numbers with decimal commas instead.

    That is possible if a named column holds only whole numbers, and the next column has no name and only
    whole numbers without a sign.

    Returns:
        The two columns; None: nothing suggests it.
    """
    names = samples.columns or ()
    if "" not in names[1:] or not any(told.endswith("separated by commas") for told in samples.reading):
        return None
    j = names.index("", 1)
    before, behind = samples.X[:, j - 1], samples.X[:, j]
    both = np.isfinite(before) & np.isfinite(behind)
    whole = all((part[np.isfinite(part)] % 1 == 0).all() for part in (before, behind))
    if not both.any() or not whole or (behind[both] < 0).any():
        return None
    row, name = int(both.argmax()), names[j - 1]
    one, other = f"{before[row]:.0f}", f"{behind[row]:.0f}"
    decimal = (
        f'[data] separator = ";", skip = 1, columns = [{json.dumps(name, ensure_ascii=False)}] reads it so'
        if len(names) == 2
        else "then write the file with another separator"
    )
    return Torn(
        column=name,
        row=row,
        cells=f"{one},{other}",
        as_two=f"{one} and {other}",
        as_one=f"{one}.{other}",
        remedy=f'{decimal}; [data] separator = "," if these are two columns',
    )
