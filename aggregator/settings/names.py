"""Names of columns and classes in settings, each of which may occur once."""

from collections import Counter
from typing import Annotated

from pydantic import Field

from fedge.nn.spec import MAX_WIDTH

ColumnName = Annotated[str, Field(min_length=1, max_length=200)]
Columns = Annotated[tuple[ColumnName, ...], Field(min_length=1, max_length=MAX_WIDTH)]


def require_unique(key: str, names: object) -> None:
    """Refuse a list in which a name occurs twice.

    Raises:
        ValueError: it names up to five of them.
    """
    if isinstance(names, tuple) and len(set(names)) != len(names):
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        raise ValueError(f"{key}: each name may occur only once; more than once: {twice[:5]}")
