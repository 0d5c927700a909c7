"""The last result of a pure function, as long as it is asked of the very same objects."""

from collections.abc import Callable
from operator import is_
from typing import Any, TypeVar

R = TypeVar("R")


def latest(make: Callable[..., R]) -> Callable[..., R]:
    """Remember what was made last, and of which objects.

    To ask whether two plans or two tasks are equal, or to hash one, takes longer than what a message needs of
    them. A federation has one of each for many rounds, so that it is enough to ask whether they are the same.
    """
    held: tuple[tuple[Any, ...], R] | None = None

    def made(*of: Any) -> R:
        nonlocal held
        found = held
        if found is None or len(of) != len(found[0]) or not all(map(is_, of, found[0])):
            held = found = (of, make(*of))
        return found[1]

    return made
