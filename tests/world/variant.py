"""A program with one deliberate mistake: which invariant it breaks, and in which worlds that shows.

A mistake changes the stream of effects (`tests.world.streams`): what a wrong core makes of a state and an
event, or what a wrong host does with the effects that it has to perform. With it are noted the invariant that
it breaks and the number of worlds within which that shows; `tests.world.search` looks for it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import pytest

from fleet.simulator.invariants import Invariant

Patch = pytest.MonkeyPatch
Stepped = tuple[Any, list[Any]]
Mistake = Callable[[Patch], None]


@dataclass(frozen=True)
class Variant:
    """A mistake, and the violation that the worlds must find."""

    title: str
    """The mistake in words, for the table in docs/world.md."""
    make: Mistake
    breaks: frozenset[Invariant]
    """One of these must be broken; another violation does not count."""
    within: int
    """Among so many of the worlds in which it can show, counted from seed 0: some ten times the distance from
    one that shows it to the next (`python -m tests.world.search` measures that)."""
    needs: frozenset[str]
    """The traits of a world (`traits`) without which the mistake cannot show; other worlds are not run."""


Variants = dict[str, Variant]


def noted_in(variants: Variants) -> Callable[..., Callable[[Mistake], Mistake]]:
    """A decorator that notes a mistake under its name."""

    def variant(
        title: str, *breaks: Invariant, within: int, needs: Collection[str] = ()
    ) -> Callable[[Mistake], Mistake]:
        def known(make: Mistake) -> Mistake:
            variants[make.__name__] = Variant(title, make, frozenset(breaks), within, frozenset(needs))
            return make

        return known

    return variant
