"""Shared by all checks: the error that names a law, comparisons of arrays and states, repeated steps."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry

P = TypeVar("P")
V = TypeVar("V")
Array = NDArray[Any]


class BrokenLaw(AssertionError):  # noqa: N818 (what a check has found)
    """A part breaks a law of its protocol; the text names the law, the input and the result.

    Args:
        law: the short name of the law, as the docstring of the check lists it.
        what: what was seen.
    """

    def __init__(self, law: str, what: str) -> None:
        super().__init__(f"{law}: {what}")
        self.law = law
        """The short name of the law."""


def require(holds: object, law: str, what: str) -> None:
    """Raise unless a law holds.

    Raises:
        BrokenLaw: it does not hold.
    """
    if not holds:
        raise BrokenLaw(law, what)


@contextmanager
def law(name: str, what: str) -> Iterator[None]:
    """Turn an exception of the part into a breach of this law."""
    try:
        yield
    except BrokenLaw:
        raise
    except Exception as error:
        raise BrokenLaw(name, f"{what} raises {error!r}") from error


def maker(part: Entry[P] | Callable[[], P], options: Mapping[str, Any] | None) -> Callable[[], P]:
    """Return a function that makes a new part each time, from an entry with options or by a callable."""
    if isinstance(part, Entry):
        return lambda: part.made(options)
    if options:
        raise ValueError("options are given to an Entry; a callable makes its part by itself")
    return part


def copied(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Copy named arrays."""
    return {name: np.array(array) for name, array in arrays.items()}


def same(left: Array, right: Array) -> bool:
    """Whether two arrays have the same type, shape and bits."""
    left, right = np.asarray(left), np.asarray(right)
    return left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes()


def same_arrays(left: Mapping[str, Array], right: Mapping[str, Array]) -> bool:
    """Whether two sets of named arrays are the same to the bit."""
    return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)


def require_state(state: State, like: State | None, whose: str) -> None:
    """Check that a state can be stored: named arrays of numbers, finite, of the shapes that `init` gave.

    Raises:
        BrokenLaw: `state`.
    """
    require(isinstance(state, Mapping), "state", f"{whose} is {type(state).__name__}, expected named arrays")
    for name, array in state.items():
        plain = isinstance(name, str) and isinstance(array, np.ndarray) and array.dtype.kind in "biuf"
        require(plain, "state", f"{whose} holds {name!r}, which is no array of numbers with a name")
        finite = array.dtype.kind != "f" or np.isfinite(array).all()
        require(finite, "state", f"{whose} holds {name!r}, which is not finite")
    if like is not None:
        forms = [{name: (a.shape, a.dtype) for name, a in each.items()} for each in (like, state)]
        require(forms[0] == forms[1], "state", f"{whose} is {forms[1]}, and `init` gave {forms[0]}")


class Stateful(Protocol):
    """A part with a state."""

    def init(self, size: int) -> State:
        """The first state, for vectors with this many entries."""


def first_state(make: Callable[[], Stateful], size: int, where: str) -> State:
    """Return the state that a part begins with, which has to be the same each time.

    Raises:
        BrokenLaw: `state`.
    """
    state = make().init(size)
    require_state(state, None, f"{where}: the first state")
    require(same_arrays(state, make().init(size)), "state", f"{where}: `init` gives another state each time")
    return state


def repeated(
    make: Callable[[], P],
    part: P,
    step: Callable[..., tuple[V, State]],
    arguments: tuple[Any, ...],
    number: int,
    where: str,
) -> tuple[V, State]:
    """Take one step three times: twice with this part, then with a new one and other global randomness.

    Args:
        make: makes a new part.
        part: the part that takes the steps of a check.
        step: the step of a part with these arguments; returns its result, an array or bytes, and the state.
        arguments: the arguments that follow the part.
        number: the seed of the global random generators for the third time.
        where: the step, for the error.

    Returns:
        What the first step returned.

    Raises:
        BrokenLaw: `hidden` or `seeded`.
    """
    first, again = step(part, *arguments), step(part, *arguments)
    with other_randomness(number):
        other = step(make(), *arguments)
    fresh, once_more = _same_outcome(first, other), _same_outcome(first, again)
    text = f"{where}: the same step gives something else the second time: it remembers something by itself"
    require(once_more or not fresh, "hidden", text)
    require(fresh and once_more, "seeded", f"{where}: the same arguments give another result or state")
    return first


def _same_outcome(left: tuple[object, State], right: tuple[object, State]) -> bool:
    one, other = left[0], right[0]
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return same(one, other) and same_arrays(left[1], right[1])
    return one == other and same_arrays(left[1], right[1])


def require_vector(vector: object, size: int, law: str, whose: str) -> None:
    """Check that this is a float32 vector of shape (size,).

    Raises:
        BrokenLaw: this law.
    """
    shaped = isinstance(vector, np.ndarray) and vector.dtype == np.float32 and vector.shape == (size,)
    found = f"{vector.dtype} of shape {vector.shape}" if isinstance(vector, np.ndarray) else repr(vector)
    require(shaped, law, f"{whose} is {found}, expected float32 of shape ({size},)")


@contextmanager
def other_randomness(seed: int) -> Iterator[None]:
    """Seed the global random generators within the block: no part may depend on them."""
    import random

    kept, kept_too = np.random.get_state(), random.getstate()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(kept)  # noqa: NPY002
        random.setstate(kept_too)
