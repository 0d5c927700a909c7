"""The last result of a pure function, reused while its arguments are the very same objects."""

from collections.abc import Callable
from functools import wraps
from operator import attrgetter, is_
from typing import Any, TypeVar

S = TypeVar("S")
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


def latest_of(*names: str) -> Callable[[Callable[[S], R]], Callable[[S], R]]:
    """As `latest`, for a function of some attributes of one object: of these names, and of no others."""
    read = attrgetter(*names)

    def remembering(make: Callable[[S], R]) -> Callable[[S], R]:
        held: tuple[tuple[Any, ...], R] | None = None

        @wraps(make)
        def made(state: S) -> R:
            nonlocal held
            found, of = held, read(state)
            if found is None or not all(map(is_, of, found[0])):
                held = found = (of, make(state))
            return found[1]

        return made

    return remembering
