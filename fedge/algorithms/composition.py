"""Whether the parts of an algorithm and its plan can work together. Pure.

A part says in the `needs` of its entry what it needs of the other parts and of the plan. `unfit` finds the
first need that is not met, and says what to set instead. The aggregator asks it at its start and for
`--check`, and so does `fedge.simulate`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from fedge.algorithms.plan import Plan
from fedge.algorithms.registry import REGISTRIES, Need

USUAL = {"local": "sgd", "codec": "float32", "rule": "mean", "server": "average", "personal": "none"}
"""FedAvg's parts, by kind; the needs of parts are looked at in this order."""
KINDS = tuple(USUAL)
NAME_KEYS = {"local": "local", "codec": "codec", "rule": "name", "server": "name", "personal": "name"}
"""The key that names a part of a kind."""
TABLES = {
    "plan": "plan",
    "local": "plan",
    "codec": "plan",
    "rule": "rule",
    "server": "server",
    "personal": "personal",
}
"""The table of `federation.toml` that has this key."""


@dataclass(frozen=True)
class Choice:
    """A part of an algorithm: its name, and all of its options, also those with their defaults."""

    name: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, kind: str, name: str, given: Mapping[str, Any] | None = None) -> "Choice":
        """The part of this name; the options that are not given have their defaults.

        Raises:
            ValueError: there is no such part, or it has no such option.
        """
        REGISTRIES[kind].make(name, given)
        options = REGISTRIES[kind].entries()[name].options.model_validate(dict(given or {}))
        return cls(name, options.model_dump())


@dataclass(frozen=True)
class Composition:
    """A whole algorithm: its plan, and a part of each kind."""

    plan: Plan
    parts: Mapping[str, Choice]
    """By kind, for each of `KINDS`. What the plan says of local algorithm and codec does not count."""

    @classmethod
    def usual(cls) -> "Composition":
        """FedAvg: the default of each kind, and the default plan."""
        return cls(Plan(), {kind: Choice.of(kind, name) for kind, name in USUAL.items()})

    def having(self, kind: str, choice: Choice) -> "Composition":
        """The same with another part of this kind."""
        return replace(self, parts={**self.parts, kind: choice})


@dataclass(frozen=True)
class Unmet:
    """A need of the part of one kind that the composition does not meet."""

    kind: str
    need: Need


def unmet(composition: Composition) -> Iterator[Unmet]:
    """Yield the needs that are not met, in the order of `KINDS`."""
    for kind in KINDS:
        for need in REGISTRIES[kind].entries()[composition.parts[kind].name].needs:
            if _missed(composition, need) is not None:
                yield Unmet(kind, need)


def unfit(composition: Composition) -> str | None:
    """Why these parts cannot work together, and what would work; None: they can.

    The text names the keys of `federation.toml` as an operator types them.
    """
    first = next(unmet(composition), None)
    if first is None:
        return None
    kind, need = first.kind, first.need
    name = composition.parts[kind].name
    reason = f": {need.why}" if need.why else ""
    text = f"{_named(kind, name)} does not work with {_missed(composition, need)}{reason}. "
    remedies = []
    if (found := next(mended(composition, frozenset({kind})), None)) is not None:
        remedies.append(f"Set {_listed(list(_differences(composition, found)), 'and')}")
    elif (lack := _not_installed(composition)) is not None:
        remedies.append(f"It needs {lack}, which is not installed: install it and list it in `extensions`")
    if others := _others(composition, kind):
        choice = f"[{TABLES[kind]}] {NAME_KEYS[kind]} to {_listed([json.dumps(o) for o in others], 'or')}"
        remedies.append(f"or set {choice}" if remedies else f"Set {choice}")
    return text + ("; ".join(remedies) or f"Choose another part in place of {_named(kind, name)}")


def _missed(composition: Composition, need: Need) -> str | None:
    """What does not meet the need, as the operator types it; None: it is met."""
    if need.kind == "plan":
        for field, wanted in need.options:
            if (value := getattr(composition.plan, field)) != wanted:
                return _key("plan", field, value)
        return None
    choice = composition.parts[need.kind]
    if need.names and choice.name not in need.names:
        return _named(need.kind, choice.name)
    for option, wanted in need.options:
        if option not in choice.options:
            return _named(need.kind, choice.name)
        if choice.options[option] != wanted:
            return _option(need.kind, option, choice.options[option])
    return None


def mended(composition: Composition, kept: frozenset[str]) -> Iterator[Composition]:
    """Yield compositions that meet all needs and keep some kinds of parts, or fields of the plan."""
    first = next(unmet(composition), None)
    if first is None:
        yield composition
        return
    need = first.need
    if need.kind == "plan":
        fields = dict(need.options)
        keys = {f"plan.{field}" for field in fields if getattr(composition.plan, field) != fields[field]}
        if not keys & kept:
            plan = composition.plan.model_copy(update=fields)
            yield from mended(replace(composition, plan=plan), kept | keys)
    elif need.kind not in kept:
        for choice in _choices(composition, need):
            changed = composition.having(need.kind, choice)
            yield from mended(changed, kept | {need.kind})


def _choices(composition: Composition, need: Need) -> Iterator[Choice]:
    """Yield the parts that meet a need; the chosen part, with its own options, comes first if it can."""
    current, registry = composition.parts[need.kind], REGISTRIES[need.kind]
    names = need.names or (current.name,)
    for name in sorted(names, key=lambda name: name != current.name):
        given = dict(current.options) if name == current.name else {}
        if name in registry.entries():
            try:
                yield Choice.of(need.kind, name, given | dict(need.options))
            except (ValueError, ValidationError):
                continue  # this part has no such option


def _differences(before: Composition, after: Composition) -> Iterator[str]:
    """Yield the keys to set, as the operator types them."""
    for field in type(before.plan).model_fields:
        if (value := getattr(after.plan, field)) != getattr(before.plan, field):
            yield _key("plan", field, value)
    for kind in KINDS:
        old, new = before.parts[kind], after.parts[kind]
        usual = old.options
        if new.name != old.name:
            usual = Choice.of(kind, new.name).options
            yield _named(kind, new.name)
        for option, value in new.options.items():
            if value != usual[option]:
                yield _option(kind, option, value)


def _others(composition: Composition, kind: str) -> list[str]:
    """The other parts of this kind that work as they are, in order."""
    found = []
    for name, entry in sorted(REGISTRIES[kind].entries().items()):
        if name != composition.parts[kind].name:
            try:
                choice = Choice(name, entry.options().model_dump())
            except ValidationError:
                continue  # it has an option without a default
            if next(unmet(composition.having(kind, choice)), None) is None:
                found.append(name)
    return found


def _not_installed(composition: Composition) -> str | None:
    """The first part that an unmet need names and that is not installed, where none that it names is."""
    for each in unmet(composition):
        kind, names = each.need.kind, each.need.names
        if names and not any(name in REGISTRIES[kind].entries() for name in names):
            return _named(kind, names[0])
    return None


def _named(kind: str, name: str) -> str:
    return _key(kind, NAME_KEYS[kind], name)


def _option(kind: str, option: str, value: Any) -> str:
    if TABLES[kind] == "plan":
        return f"[plan] {kind}_options = {{ {option} = {json.dumps(value)} }}"
    return _key(kind, option, value)


def _key(kind: str, key: str, value: Any) -> str:
    """A key with its value, and without one if it is not set."""
    if value is None:
        return f"[{TABLES[kind]}] without {key}"
    return f"[{TABLES[kind]}] {key} = {json.dumps(value)}"


def _listed(items: list[str], joint: str) -> str:
    *first, last = items
    return f"{', '.join(first)} {joint} {last}" if first else last
