"""What all robust rules share: the number of liars that is assumed, and a step before the rule.

A robust rule combines rows: the updates, or what `nnm` or `bucketing` make of them. Each device counts the
same, unless the rule's paper weighs by n_k. A rule says in `needed` of how many rows it keeps its promise
with f liars; `Rule.fewest` follows from it. Of fewer rows it makes a vector all the same, with a smaller f.

The bounds on one update (`fedge.algorithms.rules.bounds`) hold before a robust rule, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from fedge.algorithms.protocols import Combined, Rule, State, Updates
from fedge.algorithms.registry import Options
from fedge.algorithms.rules.bucketing import buckets
from fedge.algorithms.rules.nnm import neighbourhoods
from fedge.algorithms.rules.rows import MEMORY, Mixed, Read, Rows

MOST = 1_000_000
"""The largest f that can be set."""


class RobustOptions(Options):
    """Options of every robust rule."""

    f: int = Field(default=1, ge=0, le=MOST)
    """The number of malicious devices among those of a round that the rule has to stand."""
    pre: Literal["none", "nnm", "bucketing"] = "none"
    """A step before the rule, for fleets whose devices' data differ. `nnm`: each update is replaced by the
    mean of its n - f nearest ones. `bucketing`: the rule gets the means of random groups of `bucket`
    updates."""
    bucket: int = Field(default=2, ge=2, le=1000)
    """The updates of a group, with `pre` = `bucketing`."""


@dataclass(frozen=True, eq=False)
class Made:
    """What a robust rule makes of rows."""

    vector: NDArray[np.float64]
    """Of shape (p,)."""
    parts: Sequence[float]
    """The part of each row that counted, in [0, 1]."""
    state: State = field(default_factory=dict)
    """The next state."""


class Robust(Rule):
    """A rule of rows, for up to f malicious devices; a robust rule derives from this class."""

    name: ClassVar[str]
    measures = True
    weighted = False
    memory = MEMORY

    def __init__(self, options: RobustOptions) -> None:
        self.f, self._pre, self._bucket = options.f, options.pre, options.bucket
        step = {"none": "", "nnm": "+nnm", "bucketing": "+bucketing"}[options.pre]
        self.version = f"{self.name}{step}/1"
        self.fewest = self._fewest()

    @staticmethod
    def needed(f: int) -> int:
        """The fewest rows of which the rule keeps its promise with f malicious ones: 2 f + 1 or more."""
        return 2 * f + 1

    @staticmethod
    def withstood(number: int, f: int) -> int:
        """The f that counts for this many rows: less than half of them."""
        return min(f, (number - 1) // 2)

    def combine(self, rows: Rows, f: int, base: NDArray[np.float32], state: State) -> Made:
        """Make a vector of the rows.

        Args:
            rows: n rows, at least 1.
            f: as `withstood` says.
            base: what the updates began from, of shape (p,).
            state: the state after the round before.
        """
        raise NotImplementedError

    def aggregate(self, updates: Updates, base: NDArray[np.float32], state: State) -> Combined:
        """The rule's vector, rounded once to the type of the base."""
        read = Read(updates)
        members = self._members(read, base)
        rows: Rows = read if members is None else Mixed(read, members)
        made = self.combine(rows, self.withstood(rows.number, self.f), base, state)
        parts = made.parts if members is None else _shares(made.parts, members, read.number)
        counted: Mapping[str, float] = dict(zip(read.devices, parts, strict=True))
        return Combined(made.vector.astype(base.dtype), counted, made.state)

    def _members(self, read: Read, base: NDArray[Any]) -> list[list[int]] | None:
        """The rows of which each row for the rule is the mean; None: they are the same."""
        if self._pre == "nnm":
            return neighbourhoods(read, Robust.withstood(read.number, self.f), base)
        if self._pre == "bucketing":
            return buckets(read.number, base, self._bucket)
        return None

    def _fewest(self) -> int:
        needed = self.needed(self.f)
        if self._pre == "nnm":
            return max(needed, 2 * self.f + 1)
        if self._pre == "bucketing":
            return self._bucket * (needed - 1) + 1
        return needed


def _shares(parts: Sequence[float], members: Sequence[Sequence[int]], number: int) -> list[float]:
    """How much each update counted by the rows that it is in, as a share of the largest."""
    sums = [0.0] * number
    for part, some in zip(parts, members, strict=True):
        for row in some:
            sums[row] += part / len(some)
    most = max(sums)
    return [each / most if most else 0.0 for each in sums]
