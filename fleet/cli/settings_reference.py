"""Write docs/settings.md, which has every key of every settings file, from the models that read them.

`python -m fleet.cli.settings_reference FILE` writes the page. A key's meaning is the docstring below its
field.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from agent.config import AgentSettings
from aggregator.config import FederationSettings
from fedge.algorithms.registry import Registry
from fedge.service.descriptions import described
from fedge.service.explain import members
from fedge.service.settings import FileSettings
from fleet.pki.settings import RegistrarSettings
from fleet.study.settings import StudySettings

FILES: Mapping[str, tuple[type[FileSettings], str]] = {
    "agent.toml": (AgentSettings, "The settings of one device, which its owner writes."),
    "federation.toml": (FederationSettings, "The aggregator's settings: what the fleet learns, and how."),
    "registrar/registrar.toml": (RegistrarSettings, "The settings of `fedge enroll` and `fedge registrar`."),
    "study.toml": (StudySettings, "What `fedge simulate` compares ([simulate.md](simulate.md))."),
}
NAME = "NAME"
"""In a path, the placeholder for a table's name that the owner chooses."""
_INTRODUCTION = """\
# Settings

This page lists every key of the four settings files. `make docs` generates it from the models that read the
files, so it describes this version exactly; any other key is an error.

An environment variable can set each key instead, and overrides the file. An empty variable counts as unset.
The value has the type of the key: a text, a number, true or false; write a list or a table as JSON. Relative
paths start at the folder of the settings file. A default of "–" means that nothing is set.
`fedge-agent --check` and `fedge-aggregator --check` print the settings as the programs read them.
"""
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path"}
_PLURALS = {
    "text": "texts",
    "path": "paths",
    "table": "tables",
    "number": "numbers",
    "whole number": "whole numbers",
}
_BOUNDS = ((Ge, "ge", "≥"), (Gt, "gt", ">"), (Le, "le", "≤"), (Lt, "lt", "<"))

Fields = Mapping[str, FieldInfo]


def reference() -> str:
    """Return the whole page."""
    parts = [_INTRODUCTION]
    for name, (settings, about) in FILES.items():
        page = _Page(name, settings.ENV_PREFIX, {})
        parts.append(f"\n## `{name}`\n\n{about} Its variables begin with `{settings.ENV_PREFIX}`.\n")
        parts += page.fields(described(settings), ())
    return "".join(parts)


@dataclass(frozen=True)
class _Page:
    """The part of the page about one file."""

    name: str
    prefix: str
    """The prefix of its variables."""
    told: dict[tuple[type[BaseModel], ...], str]
    """The titles of tables that the page has already described."""

    def fields(self, fields: Fields, path: tuple[str, ...]) -> Iterator[str]:
        """Yield the keys of a table that have values, and then the tables below it."""
        rows = [self._row(key, field, path) for key, field in fields.items() if not _is_table(field)]
        if rows:
            yield "\n| key | type | default | meaning | variable |\n|---|---|---|---|---|\n"
            yield from rows
        for key, field in fields.items():
            if members := tuple(_models(field.annotation)):
                yield from self._below((*path, key), field, members)

    def _row(self, key: str, field: FieldInfo, path: tuple[str, ...]) -> str:
        variable = self.prefix + "__".join(part if part == NAME else part.upper() for part in (*path, key))
        cells = (f"`{key}`", _type(field), _default(field), _line(field.description), f"`{variable}`")
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"

    def _below(
        self, path: tuple[str, ...], field: FieldInfo, members: tuple[type[BaseModel], ...]
    ) -> Iterator[str]:
        holder = _holder(field.annotation)
        if holder is tuple:
            yield f"\n### Entries of `{'.'.join(path)}` in `{self.name}`\n\n"
            yield from map(_entry, members)
            return
        if holder is dict:
            path = (*path, NAME)
        title = f"`[{'.'.join(path)}]`"
        yield f"\n### {title} in `{self.name}`\n"
        if not field.is_required() and field.default is None:
            yield f"\nThis table may be left out. {_line(field.description)}\n"
        if members in self.told:
            yield f"\nThe keys are those of {self.told[members]}.\n"
            return
        self.told[members] = title
        if len(members) == 1:
            yield f"\n{_sentence(members[0])}\n"
            yield from self.fields(described(members[0]), path)
            for key, registry in getattr(members[0], "PARTS", {}).items():
                yield from self._parts(registry, (*path, key) if key else path)
            return
        first, *others = (described(member) for member in members)
        shared = [key for key in first if all(repr(first[key]) == repr(other.get(key)) for other in others)]
        if shared:
            yield "\nWhichever kind it is:\n"
            yield from self.fields({key: first[key] for key in shared}, path)
        for member in members:
            yield f"\n{_sentence(member)}\n"
            own = {key: field for key, field in described(member).items() if key not in shared}
            yield from self.fields(own, path)

    def _parts(self, registry: Registry[Any], path: tuple[str, ...]) -> Iterator[str]:
        """Yield the parts that a table may name, and the settings of each at `path`."""
        yield f"\nParts of the kind `{registry.kind}`, besides those of `extensions`:\n\n"
        told = [registry.entries()[name] for name in registry.names()]
        for entry in told:
            about = _line((entry.make.__doc__ or "").partition("\n\n")[0])
            yield f"- `{entry.name}`: {about}{'' if entry.options.model_fields else ' It has no options.'}\n"
        for entry in told:
            if entry.options.model_fields:
                yield f"\nOptions of `{entry.name}`:\n"
                yield from self.fields(described(entry.options), path)


def _entry(model: type[BaseModel]) -> str:
    """Describe in one line a table that is an entry of a list."""
    keys = []
    for key, field in described(model).items():
        kind = f'`{key} = "{field.default}"`' if get_origin(field.annotation) is Literal else f"`{key}`"
        keys.append(kind if get_origin(field.annotation) is Literal else f"{kind} ({_type(field)})")
    return f"- {', '.join(keys)}: {_sentence(model)}\n"


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _sentence(model: type[BaseModel]) -> str:
    """A model's docstring up to the first empty line, without the table's name, which is the title."""
    text = _line((model.__doc__ or "").strip().partition("\n\n")[0])
    told = re.sub(r"^`\[\w+\]`: ", "", text)
    return text if told == text else told[0].upper() + told[1:]


def _type(field: FieldInfo) -> str:
    """The type of a value in words, with the bounds of a number."""
    bounds = [
        f"{sign} {_number(getattr(limit, name))}"
        for kind, name, sign in _BOUNDS
        for limit in field.metadata
        if isinstance(limit, kind)
    ]
    before = any(isinstance(each, BeforeValidator) for each in field.metadata)
    return ", ".join((_words(field.annotation, before=before), *bounds))


def _number(limit: float) -> str:
    return f"{int(limit) if limit == int(limit) else limit:,}"


def _words(annotation: Any, *, before: bool = False) -> str:
    """Describe a type in words; `before`: the file's value, a text unless it is a list, is parsed to it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        marked = any(isinstance(each, BeforeValidator) for each in arguments[1:])
        return _words(arguments[0], before=before or marked)
    if origin in (Union, UnionType):
        kinds = [each for each in arguments if each is not NoneType]
        return ", or ".join(dict.fromkeys(_words(each, before=before) for each in kinds))
    if origin is Literal:
        return ", ".join(f"`{json.dumps(each)}`" for each in arguments)
    if origin in (tuple, list, frozenset, set):
        if before and origin is tuple and Ellipsis not in arguments:
            return "text"
        kinds = [each for each in arguments if each is not Ellipsis]
        words = ", ".join(dict.fromkeys(_words(each) for each in kinds))
        return "list of " + ", or ".join(_plural(word) for word in words.split(", or "))
    if origin is dict:
        return f"table of {_plural(_words(arguments[1]))} by name"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "table"
    return _WORDS.get(annotation, "text")


def _plural(words: str) -> str:
    first, _, rest = words.partition(" of ")
    return f"lists of {rest}" if first == "list" else _PLURALS.get(words, words)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "–"
    if isinstance(value, BaseModel):
        return "its own defaults"
    return f"`{json.dumps(value, default=str, ensure_ascii=False)}`"


def _is_table(field: FieldInfo) -> bool:
    """Whether a key holds only a table, so that the page describes its keys instead."""
    models, kinds = list(_models(field.annotation)), list(_kinds(field.annotation))
    return bool(models) and len(models) == len(kinds) and _holder(field.annotation) is not tuple


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a key may hold, also within lists and tables."""
    for kind in _kinds(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from members(kind)


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types of which a type consists, without the type of a table's names."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _kinds(arguments[0])
    elif origin is dict:
        yield from _kinds(arguments[1])
    elif origin in (Union, UnionType, tuple, list, frozenset, set):
        for each in arguments:
            if each not in (NoneType, Ellipsis):
                yield from _kinds(each)
    else:
        yield annotation


def _holder(annotation: Any) -> type | None:
    """Whether the models of a key are the entries of a list (`tuple`) or of a table by name (`dict`)."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _holder(arguments[0])
    if origin in (Union, UnionType):
        return next((found for each in arguments if (found := _holder(each)) is not None), None)
    if origin in (tuple, list):
        return tuple
    return dict if origin is dict else None


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
