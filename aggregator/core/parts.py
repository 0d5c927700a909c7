"""The parts that a round is computed with, by name and options, as the ledger stores them. Pure."""

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
from fedge.algorithms.protocols import Codec, cluster_names
from fedge.algorithms.registry import CODECS, LOCAL, PERSONAL, Registry
from fedge.errors import ConfigError

P = TypeVar("P")
Vector = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Part:
    """A part of an algorithm: its name and its options."""

    name: str
    options: str = "{}"
    """As JSON, with the defaults of the time when they were stored, which may change later."""

    @classmethod
    def of(cls, registry: Registry[Any], name: str, given: Mapping[str, Any] | None = None) -> "Part":
        """The part of this name with these options.

        Raises:
            ValueError: there is no part of this name, or it has no such option.
        """
        registry.make(name, given)
        options = registry.entries()[name].options.model_validate(dict(given or {}))
        return cls(name, json.dumps(options.model_dump(mode="json"), sort_keys=True))

    def made(self, registry: Registry[P]) -> P:
        """Make the part itself.

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
    """The parts that determine which model is made from a round's updates."""

    rule: Part = field(default_factory=lambda: Part("mean"))
    server: Part = field(default_factory=lambda: Part("average"))
    codec: Part = field(default_factory=lambda: Part("float32"))
    local: Part = field(default_factory=lambda: Part("sgd"))
    personal: Part = field(default_factory=lambda: Part("none"))
    fleet: int | None = None
    """N, the number of devices of the fleet (`aggregator.aggregation.fleet_size`); None: the round is open,
    or an older program closed it."""
    seed: int | None = None
    """The federation's seed, with which the round's vectors are encoded; None: an older program opened it."""

    @classmethod
    def of(cls, plan: Plan, rule: Part, server: Part, seed: int | None = None) -> "Parts":
        """The parts that a plan names, and the aggregator's own."""
        return cls(
            rule,
            server,
            Part.of(CODECS, plan.codec, plan.codec_options),
            Part.of(LOCAL, plan.local_name, plan.local_options),
            Part.of(PERSONAL, plan.personal_name, plan.personal_options),
            seed=seed,
        )

    @classmethod
    def read(cls, text: str | None) -> "Parts":
        """The inverse of `text`; None: an older program stored none, and knew only the default parts.

        Raises:
            ValueError: the text cannot be read.
        """
        if text is None:
            return cls()
        found = json.loads(text)
        if isinstance(found, dict):
            found.setdefault("personal", ["none", "{}"])  # an older program stored none
        try:
            parts = {name: Part(*found[name]) for name in PARTS}
            fleet, seed = found.get(FLEET), found.get(SEED)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"parts of a round: {error!r}") from None
        if fleet is not None and (type(fleet) is not int or fleet < 1):
            raise ValueError(f"parts of a round: the number of devices is {fleet!r}, expected 1 or more")
        if seed is not None and (type(seed) is not int or seed < 0):
            raise ValueError(f"parts of a round: the seed is {seed!r}, expected 0 or more")
        return cls(**parts, fleet=fleet, seed=seed)

    def text(self) -> str:
        """For the ledger."""
        parts: dict[str, Any] = {name: list(vars(getattr(self, name)).values()) for name in PARTS}
        numbers = {FLEET: self.fleet, SEED: self.seed}
        return json.dumps(parts | {name: each for name, each in numbers.items() if each is not None})

    @property
    def sends(self) -> tuple[str, ...]:
        """The vectors besides the weights that each update has."""
        return _sends(self.local)

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the shared models, each a vector of a model message; `weights` is the first."""
        return _models(self.personal)

    @property
    def hands_on(self) -> tuple[str, ...]:
        """The vectors besides the weights that each model has."""
        return self.local.made(LOCAL).receives


FLEET, SEED = "fleet", "seed"
"""The fields of `Parts` that are no parts."""
PARTS = tuple(each.name for each in fields(Parts) if each.name not in (FLEET, SEED))


@lru_cache(maxsize=16)
def _sends(local: Part) -> tuple[str, ...]:
    """Cached, because it is needed for each update."""
    return tuple(local.made(LOCAL).sends)


@lru_cache(maxsize=16)
def _models(personal: Part) -> tuple[str, ...]:
    # A part from outside may not derive from the protocol's class, and then may lack `models`.
    return cluster_names(getattr(personal.made(PERSONAL), "models", 1))


def whole(codec: Codec, vector: NDArray[np.float32], base: Vector | None) -> Vector:
    """The weights of shape (p,) from a decoded vector: itself, or the sum of `base` and it, in float64.

    Raises:
        ValueError: the vector is a change, and there is no base.
    """
    if codec.encodes == "weights":
        return vector
    if base is None:
        raise ValueError("a codec that encodes changes needs the weights that they were made from")
    found: Vector = np.add(base, vector, dtype=np.float64)
    return found


class PartError(ConfigError):
    """A part of the algorithm fails; the text names the part and the round, and says what to do."""


@contextmanager
def blaming(who: str, where: str, remedy: str) -> Iterator[None]:
    """Turn any error within into one that names a part, because a part may be third-party code.

    Args:
        who: the part, for people: `the rule mean/2`.
        where: the round.
        remedy: what the operator can do instead of correcting the part.

    Raises:
        PartError: instead of what the part raises, also of SystemExit. Only a MemoryError stays one, because
            the next start may have more memory.
    """
    try:
        yield
    except (PartError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise failed(who, where, error, remedy) from error


def failed(who: str, where: str, error: BaseException, remedy: str) -> PartError:
    """The error that names a part."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f", in {Path(frame.filename).name}, line {frame.lineno}" for frame in last)
    return PartError(f"round {where}: {who} fails: {error!r}{place}. Correct it, {remedy}; no update is lost")


def unchanged(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """A read-only view of a vector, because a part must not change what it gets."""
    view = vector.view()
    view.flags.writeable = False
    return view


def require_vector(who: str, vector: object, size: int) -> None:
    """Check the result of a part, which may be third-party code.

    Raises:
        ValueError: it is not a float32 vector of that size.
    """
    shape, kind = getattr(vector, "shape", None), getattr(vector, "dtype", None)
    if type(vector) is not np.ndarray:
        raise ValueError(f"{who} made {type(vector).__name__}, expected a NumPy array")
    if shape != (size,) or kind != np.float32:
        raise ValueError(f"{who} made {kind} of shape {shape}, expected float32 of shape ({size},)")
