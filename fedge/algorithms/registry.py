"""Registries: find the parts of an algorithm by their names.

The built-in parts of a kind are the modules of one folder; each ends with `ENTRY = Entry(…)`. Others are
added by whoever runs the program: an operator in `federation.toml`, a device's owner in `agent.toml`, as
`extensions = ["module:attribute"]` or by the name of an entry point in the group `fedge.extensions`. The
network can name a part and give it options; it can never name code.
"""

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from fedge.errors import ConfigError

if TYPE_CHECKING:  # these modules import this one
    from fedge.algorithms.protocols import Codec, LocalAlgorithm, Personal, Rule, ServerOptimizer
    from fedge.nn.layer import LayerSpec

GROUP = "fedge.extensions"
"""The group of entry points that a package registers its parts in."""

P = TypeVar("P")


class Options(BaseModel):
    """The options of a part, each with a default; a part with options derives its own class."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, defer_build=True)


@dataclass(frozen=True)
class Need:
    """What a part needs of the other parts of the algorithm, or of the plan.

    >>> Need("rule", ("mean",), (("weights", "uniform"),), "each device counts the same in the sum").kind
    'rule'
    """

    kind: str
    """The kind of the other part; or `plan`."""
    names: tuple[str, ...] = ()
    """The parts of this kind that work; () for `plan`."""
    options: tuple[tuple[str, Any], ...] = ()
    """What an option of that part, or a field of the plan, has to be."""
    why: str = ""
    """The reason, for people: one clause."""


@dataclass(frozen=True)
class Entry(Generic[P]):
    """One part: its kind, its name on the wire and in settings, and its constructor."""

    kind: str
    """The registry: `codec`, `local`, `rule`, `server`, `personal`, `layer`; or `phase` and `schedule`, which
    cannot be extensions."""
    name: str
    make: Callable[..., P]
    """Called with an instance of `options`, or without arguments if the part has none."""
    options: type[Options] = Options
    """The class of its options."""
    needs: tuple[Need, ...] = ()
    """What it needs of the other parts: `fedge.algorithms.composition` refuses a choice without it."""

    def made(self, given: Mapping[str, Any] | None = None) -> P:
        """Make the part with these options; the others have their defaults.

        Raises:
            ValueError: an option is unknown, or its value is wrong; the text says which.
        """
        try:
            options = self.options.model_validate(dict(given)) if given else self._defaults
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            what = first["msg"].removeprefix("Value error, ")
            if first["type"] == "extra_forbidden":
                what = f"unknown option; accepted: {', '.join(self.options.model_fields) or 'none'}"
            raise ValueError(f"{self.kind} {self.name!r}: {where}: {what}") from None
        return self.make() if options is None else self.make(options)

    @cached_property
    def _defaults(self) -> Options | None:
        """The options if none are given, validated once; None: the part has no options."""
        return self.options.model_validate({}) if self.options.model_fields else None


@dataclass
class Registry(Generic[P]):
    """All parts of one kind: the built-in ones and those that were added."""

    kind: str
    folder: str
    """The package whose modules are the built-in parts."""
    _built_in: dict[str, Entry[P]] | None = field(default=None, repr=False)
    _added: dict[str, Entry[P]] = field(default_factory=dict, repr=False)

    def entries(self) -> Mapping[str, Entry[P]]:
        """The entries by name."""
        built_in = self.built_in()
        return {**built_in, **self._added} if self._added else built_in

    def built_in(self) -> Mapping[str, Entry[P]]:
        """The entries of the parts that come with Fedge, by name."""
        if self._built_in is None:
            package = import_module(self.folder)
            modules = (
                import_module(f"{self.folder}.{m.name}") for m in pkgutil.iter_modules(package.__path__)
            )
            found = (cast("Entry[P] | None", getattr(module, "ENTRY", None)) for module in modules)
            self._built_in = {entry.name: entry for entry in found if entry is not None}
        return self._built_in

    def names(self) -> tuple[str, ...]:
        """The names of all parts, in order."""
        return tuple(sorted(self.entries()))

    def make(self, name: str, options: Mapping[str, Any] | None = None) -> P:
        """Make the part of this name with these options.

        Raises:
            ValueError: the name is unknown, or an option is wrong; the text says which.
        """
        entry = self.entries().get(name)
        if entry is None:
            raise ValueError(f"unknown {self.kind} {name!r}; known: {', '.join(self.names())}")
        return entry.made(options)

    def add(self, entry: Entry[P]) -> None:
        """Add a part from outside.

        Raises:
            ConfigError: another part has its name. What a name means must not depend on what is installed.
        """
        present = self.entries().get(entry.name)
        if present is not None and present != entry:
            raise ConfigError(f"{self.kind} {entry.name!r} exists already; give yours another name")
        self._added[entry.name] = entry

    def remove(self, name: str) -> None:
        """Remove a part that was added."""
        self._added.pop(name, None)


CODECS: "Registry[Codec]" = Registry("codec", "fedge.algorithms.codecs")
LOCAL: "Registry[LocalAlgorithm]" = Registry("local", "fedge.algorithms.local")
RULES: "Registry[Rule]" = Registry("rule", "fedge.algorithms.rules")
SERVER: "Registry[ServerOptimizer]" = Registry("server", "fedge.algorithms.server")
PERSONAL: "Registry[Personal]" = Registry("personal", "fedge.algorithms.personal")
LAYERS: "Registry[LayerSpec]" = Registry("layer", "fedge.nn.layers")
"""A layer's entry makes its spec, which defines everything about it (`fedge.nn.layer`)."""

REGISTRIES: Mapping[str, Registry[Any]] = {
    registry.kind: registry for registry in (CODECS, LOCAL, RULES, SERVER, PERSONAL, LAYERS)
}
"""The registries by kind."""


def register(entry: Entry[Any]) -> None:
    """Add a part from outside to the registry of its kind.

    Raises:
        ConfigError: there is no such kind, or another part has its name.
    """
    registry = REGISTRIES.get(entry.kind)
    if registry is None:
        raise ConfigError(f"there are no parts of kind {entry.kind!r}; kinds: {', '.join(REGISTRIES)}")
    registry.add(entry)


@contextmanager
def registered(*entries: Entry[Any]) -> Iterator[None]:
    """Register parts from outside within a block, for tests and notebooks."""
    new = [entry for entry in entries if entry.name not in REGISTRIES[entry.kind].entries()]
    for entry in entries:
        register(entry)
    try:
        yield
    finally:
        for entry in new:
            REGISTRIES[entry.kind].remove(entry.name)


def load(extension: str) -> Entry[Any]:
    """Find a part by `module:attribute`, or by the name of an entry point, and register it.

    Raises:
        ConfigError: it does not exist, cannot be imported, or is no `Entry`.
    """
    module, colon, attribute = extension.partition(":")
    from importlib.metadata import entry_points  # only here: it costs memory that most devices can save

    try:
        if colon:
            found = getattr(import_module(module), attribute)
        else:
            points = [point for point in entry_points(group=GROUP) if point.name == extension]
            if not points:
                installed = ", ".join(sorted(point.name for point in entry_points(group=GROUP))) or "none"
                raise ConfigError(
                    f"extensions: no installed package has an extension {extension!r}; there is {installed}; "
                    'or name code as "module:attribute"'
                )
            found = points[0].load()
    except ConfigError:
        raise
    except Exception as error:  # an import of foreign code may raise anything
        raise ConfigError(f"extensions: {extension!r} cannot be loaded: {error!r}") from error
    if not isinstance(found, Entry):
        raise ConfigError(f"extensions: {extension!r} is {type(found).__name__}, expected an Entry")
    register(found)
    return found
