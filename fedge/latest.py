"""The last result of a pure function, reused while its arguments are the very same objects."""

from collections.abc import Callable
from operator import is_
from typing import Any, TypeVar

R = TypeVar("R")


def latest(make: Callable[..., R]) -> Callable[..., R]:
    """Remember the last result and its arguments, which are compared by identity.

    To compare or hash a plan or a task takes longer than to handle a message. A federation has the same plan
    and task objects for many rounds, so identity is enough.
    """
    held: tuple[tuple[Any, ...], R] | None = None

    def made(*of: Any) -> R:
        nonlocal held
        found = held
        if found is None or len(of) != len(found[0]) or not all(map(is_, of, found[0])):
            held = found = (of, make(*of))
        return found[1]

    return made
