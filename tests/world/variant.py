"""A program with one deliberate mistake: what it breaks, and where that shows.

A mistake is described on the stream of effects (`tests.world.streams`): by what a core that is wrong makes
of a state and an event, or by what a host that is wrong does with the effects it is to perform. Beside it
stands which invariant it breaks and within how many worlds that shows; `tests.world.search` looks for it.
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
    """A mistake, and what the world has to make of it."""

    title: str
    """As docs/world.md calls it."""
    make: Mistake
    breaks: frozenset[Invariant]
    """Any of these is found; another violation is none of this mistake."""
    within: int
    """Among so many of the worlds in which it can show, counted from seed 0: some ten times the distance from
    one that shows it to the next (`python -m tests.world.search` measures that)."""
    needs: frozenset[str]
    """What a world must be like for it to show, as `traits` tells: others need not be looked into."""


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
