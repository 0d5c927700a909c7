"""Samples that the owner's program passes in: arrays, or a function that returns them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from agent.sources.arrays import samples_from_arrays
from agent.sources.function import FunctionSource
from agent.sources.samples import Samples


@dataclass(frozen=True, eq=False)
class GivenArrays:
    """Arrays that do not change."""

    name: str
    X: Any
    y: Any
    series: Any = None

    def fingerprint(self) -> Hashable:
        """Always the same."""
        return self.name

    def read(self) -> Samples:
        """Check the arrays.

        Raises:
            DataError: as `samples_from_arrays`.
        """
        return samples_from_arrays(self.name, self.X, self.y, self.series)


@dataclass(frozen=True, kw_only=True)
class GivenFunction(FunctionSource):
    """A function as `FunctionSource` calls it, passed as an object instead of a name to import."""

    function: Callable[[], Any]

    def _function(self) -> Callable[[], Any]:
        return self.function
