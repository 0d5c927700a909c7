"""`Algorithm`: the parts with which a simulated federation learns, given by name or as objects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedge.algorithms.composition import USUAL
from fedge.algorithms.protocols import Codec, LocalAlgorithm, Personal, Rule, ServerOptimizer
from fedge.algorithms.registry import REGISTRIES, Entry
from fedge.errors import ConfigError

DOES = {"local": "run", "codec": "encode", "rule": "aggregate", "server": "step", "personal": "adapt"}
"""The method by which a part's kind is recognized."""


@dataclass(frozen=True)
class Algorithm:
    """The parts of an algorithm, each given by its name, as an `Entry`, or as the part itself.

    The default is FedAvg (McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
    Decentralized Data", AISTATS, Algorithm 1).
    """

    local: "str | Entry[Any] | LocalAlgorithm" = "sgd"
    """The local algorithm: a device's training in a round."""
    codec: "str | Entry[Any] | Codec" = "float32"
    """The codec, which encodes an update as bytes."""
    rule: "str | Entry[Any] | Rule" = "mean"
    """The rule, which aggregates the updates of a round."""
    server: "str | Entry[Any] | ServerOptimizer" = "average"
    """The server optimizer, which makes the next model of the aggregate."""
    personal: "str | Entry[Any] | Personal" = "none"
    """What a device makes for itself of the shared model."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The options of the parts, by kind: `{"codec": {"share": 0.01}}`."""

    def __post_init__(self) -> None:
        tables = [self.options]
        tables += self.options.values() if isinstance(self.options, Mapping) else ()
        if not all(isinstance(table, Mapping) for table in tables):
            raise ConfigError(f"Algorithm: options are {self.options!r}, expected a table for each kind")
        if unknown := ", ".join(sorted(self.options.keys() - USUAL.keys())):
            raise ConfigError(f"Algorithm: options of {unknown}: the kinds are {', '.join(USUAL)}")

    def entries(self) -> tuple[Entry[Any], ...]:
        """The parts that were not given by name."""
        return tuple(entry for kind in USUAL if isinstance(entry := self._part(kind), Entry))

    def tables(self) -> dict[str, dict[str, Any]]:
        """The tables of `federation.toml` for these parts, which have to be registered.

        Raises:
            ConfigError: no part has this name, or a part has no such option.
        """
        names = {kind: self._name(kind) for kind in USUAL}
        told = {kind: dict(self.options.get(kind, {})) for kind in USUAL}
        plan: dict[str, Any] = {"codec": names["codec"], "local": names["local"]}
        plan |= {f"{kind}_options": told[kind] for kind in plan if told[kind]}
        if names["local"] == USUAL["local"] and not told["local"]:
            del plan["local"]  # earlier versions do not know this key
        tables = {kind: {"name": names[kind], **told[kind]} for kind in ("rule", "server", "personal")}
        return {
            "plan": plan,
            **{kind: said for kind, said in tables.items() if said != {"name": USUAL[kind]}},
        }

    def _part(self, kind: str) -> str | Entry[Any]:
        part = getattr(self, kind)
        if isinstance(part, str):
            return part
        if not isinstance(part, Entry):
            if isinstance(part, type) or not callable(getattr(part, DOES[kind], None)):
                wanted = f"a name, an Entry, or an object with the method `{DOES[kind]}`"
                raise ConfigError(f"Algorithm: {kind} is {part!r}, expected {wanted}")
            name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(part).__name__).lower().replace("_", "-")
            return Entry(kind, name, lambda: part)
        if part.kind != kind:
            raise ConfigError(f"Algorithm: {kind} is given the {part.kind} {part.name!r}")
        return part

    def _name(self, kind: str) -> str:
        part = self._part(kind)
        name = part.name if isinstance(part, Entry) else part
        if name != USUAL[kind] or self.options.get(kind):
            try:
                REGISTRIES[kind].make(name, self.options.get(kind))
            except ValueError as error:
                raise ConfigError(f"Algorithm: {error}") from None
        return name
