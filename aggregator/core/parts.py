"""Which parts a round is computed with, by name and options: what its row in the ledger says. Pure."""

import json
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.plan import Plan
from fedge.algorithms.protocols import Codec
from fedge.algorithms.registry import CODECS, LOCAL, Registry
from fedge.errors import ConfigError

P = TypeVar("P")
Vector = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Part:
    """A part of an algorithm: its name, and all that it is told."""

    name: str
    options: str = "{}"
    """As JSON, with the defaults that held when it was written down: these may be others one day."""

    @classmethod
    def of(cls, registry: Registry[Any], name: str, given: Mapping[str, Any] | None = None) -> "Part":
        """The part of this name with these options.

        Raises:
            ValueError: there is none of this name, or it does not know an option.
        """
        registry.make(name, given)
        options = registry.entries()[name].options.model_validate(dict(given or {}))
        return cls(name, json.dumps(options.model_dump(mode="json"), sort_keys=True))

    def made(self, registry: Registry[P]) -> P:
        """The part itself.

        Raises:
            ValueError: as `of`.
        """
        return registry.make(self.name, self.given)

    @property
    def given(self) -> dict[str, Any]:
        """The options."""
        found: dict[str, Any] = json.loads(self.options)
        return found


@dataclass(frozen=True)
class Parts:
    """The parts that decide which model comes of a round's updates."""

    rule: Part = field(default_factory=lambda: Part("mean"))
    server: Part = field(default_factory=lambda: Part("average"))
    codec: Part = field(default_factory=lambda: Part("float32"))
    local: Part = field(default_factory=lambda: Part("sgd"))

    @classmethod
    def of(cls, plan: Plan, rule: Part, server: Part) -> "Parts":
        """Those of a plan, and the aggregator's own."""
        return cls(
            rule,
            server,
            Part.of(CODECS, plan.codec, plan.codec_options),
            Part.of(LOCAL, plan.local_name, plan.local_options),
        )

    @classmethod
    def read(cls, text: str | None) -> "Parts":
        """The inverse of `text`; None: a program before this one wrote none, and there were no others.

        Raises:
            ValueError: it is no such text.
        """
        if text is None:
            return cls()
        found = json.loads(text)
        try:
            return cls(**{each.name: Part(*found[each.name]) for each in fields(cls)})
        except (KeyError, TypeError) as error:
            raise ValueError(f"parts of a round: {error!r}") from None

    def text(self) -> str:
        """For the ledger."""
        return json.dumps({each.name: list(vars(getattr(self, each.name)).values()) for each in fields(self)})

    @property
    def sends(self) -> tuple[str, ...]:
        """The vectors besides the weights that each update has."""
        return _sends(self.local)

    @property
    def hands_on(self) -> tuple[str, ...]:
        """The vectors besides the weights that each model has."""
        return self.local.made(LOCAL).receives


@lru_cache(maxsize=16)
def _sends(local: Part) -> tuple[str, ...]:
    """Made once: it is asked of each update."""
    return tuple(local.made(LOCAL).sends)


def whole(codec: Codec, vector: NDArray[np.float32], base: Vector | None) -> Vector:
    """The weights of shape (p,) that a decoded vector tells: itself, or `base` with it, in float64.

    Raises:
        ValueError: it is a change, and there is no base.
    """
    if codec.encodes == "weights":
        return vector
    if base is None:
        raise ValueError("a codec that encodes changes needs the weights that they are of")
    found: Vector = np.add(base, vector, dtype=np.float64)
    return found


class PartError(ConfigError):
    """A part of the algorithm does not do what it must: which, in which round, and what to do."""


@contextmanager
def blaming(who: str, where: str, remedy: str) -> Iterator[None]:
    """Have whatever goes wrong within said to be a part's fault, for a part may be anybody's.

    Args:
        who: the part, for people: `the rule mean/2`.
        where: the round.
        remedy: what the operator can do besides mending it.

    Raises:
        PartError: instead of what the part raises, even if it wants to end the program. Only a lack of memory
            stays one: the next start may have more.
    """
    try:
        yield
    except (PartError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise failed(who, where, error, remedy) from error


def failed(who: str, where: str, error: BaseException, remedy: str) -> PartError:
    """The error that a part is to be blamed for."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f", in {Path(frame.filename).name}, line {frame.lineno}" for frame in last)
    return PartError(f"round {where}: {who} fails: {error!r}{place}. Mend it, {remedy}: no update is lost")


def unchanged(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same vector, not to be written to: what a part gets it must not change."""
    view = vector.view()
    view.flags.writeable = False
    return view


def require_vector(who: str, vector: object, size: int) -> None:
    """Raise a ValueError unless this is one vector of float32 of that size: a part may be anybody's."""
    shape, kind = getattr(vector, "shape", None), getattr(vector, "dtype", None)
    if type(vector) is not np.ndarray:
        raise ValueError(f"{who} made {type(vector).__name__}, expected an array of NumPy")
    if shape != (size,) or kind != np.float32:
        raise ValueError(f"{who} made {kind} of shape {shape}, expected float32 of shape ({size},)")
