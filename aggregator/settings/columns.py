"""Means and spreads of columns, which an operator may give instead of a survey."""

from collections.abc import Collection, Mapping
from typing import Annotated

from pydantic import Field

MOST = 1e30
"""The largest mean and spread of a column."""

Column = tuple[
    Annotated[float, Field(ge=-MOST, le=MOST)], Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)]
]


def unfit(table: str, given: Mapping[str, Column], wanted: Collection[str]) -> str | None:
    """What `columns` of a table lacks or has too much of, for these columns of the model; None: nothing."""
    if lacks := [name for name in wanted if name not in given]:
        return (
            f"[{table}] columns: {', '.join(map(repr, lacks[:5]))} "
            f"{'has' if len(lacks) == 1 else 'have'} no mean and spread: a survey would tell them of the "
            "devices' rows without protection, so write them here"
        )
    if more := sorted(given.keys() - set(wanted)):
        return f"[{table}] columns: {', '.join(map(repr, more[:5]))}: [model] has no such column"
    return None
