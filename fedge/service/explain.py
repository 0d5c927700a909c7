"""Explains a mistake in a configuration with the keys of the file, instead of in pydantic's words."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from fedge.service.descriptions import described

Variables = Mapping[tuple[str, ...], str]
"""Keys, outermost table first, and the environment variable that gave the value."""

_Place = tuple[list[str], type[BaseModel], list[type[BaseModel]]]


def explain(settings: type[BaseModel], path: Path, variables: Variables, error: ErrorDetails) -> str:
    """Return one line: file or variable, [table] key, what is wrong, and what would be right.

    Args:
        settings: the model that was validated.
        path: the configuration file.
        variables: which environment variable gave which key.
        error: one of the errors of pydantic's ValidationError.
    """
    keys, table, inner = _follow(settings, error["loc"])
    kind, message = error["type"], error["msg"].removeprefix("Value error, ")
    head, _, rest = message.partition(": ")
    if kind == "value_error" and len(inner) == 1 and head in inner[0].model_fields:
        keys, table, inner, message = [*keys, head], inner[0], [], rest  # a check names the key to change
    value = error.get("input")
    got = f", got {value!r}" if isinstance(value, str | int | float | bool) else ""
    if kind == "value_error" and got:  # a table that may also be written as a value
        inner = []
    about = _about(table, keys)
    match kind:
        case "extra_forbidden":
            close = difflib.get_close_matches(keys[-1], table.model_fields, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            message = f"unknown key; {hint}accepted here: {', '.join(table.model_fields)}"
        case "missing":
            message = f"is missing{about}"
        case "union_tag_not_found" | "union_tag_invalid":
            tag = error["ctx"]["discriminator"].strip("'")
            given = f"unknown value {error['ctx']['tag']!r}" if "tag" in error["ctx"] else "is missing"
            accepted = [value for member in inner for value in get_args(member.model_fields[tag].annotation)]
            keys, inner, message = [*keys, tag], [], f"{given}; accepted: {', '.join(accepted)}"
        case "model_type" | "model_attributes_type" | "dict_type":
            message = f"must be a table: write [{'.'.join(keys)}] and its keys below it{got}"
        case _:
            message += got + about
    for path_to, variable in variables.items():
        if path_to[: len(keys)] == tuple(keys) and (kind == "extra_forbidden" or len(path_to) == len(keys)):
            return f"environment variable {variable}: {message}"
    where = f"[{'.'.join(keys)}]" if inner else f"[{'.'.join(keys[:-1])}] {keys[-1]}".removeprefix("[] ")
    return f"{path}: {where}: {message}" if keys else f"{path}: {message}"


def _follow(settings: type[BaseModel], location: tuple[int | str, ...]) -> _Place:
    """Translate pydantic's location into keys of the file, the section of the last key, and that key's types.

    Pydantic also puts the chosen member of a union into the location, which is not a key of the file.
    """
    keys: list[str] = []
    table, inner, named = settings, [settings], False
    for part in location:
        if isinstance(part, int):
            keys[-1] += f"[{part}]"
        elif named:  # the owner chooses the table's name, so it is not a known key
            keys.append(part)
            named = False
        elif len(inner) > 1:
            inner = [member for member in inner if part in _marks(member)]
        else:
            table = inner[0] if inner else table
            keys.append(part)
            annotation = table.model_fields[part].annotation if part in table.model_fields else None
            inner, named = _models(annotation), get_origin(annotation) is dict
    return keys, table, inner


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the sections that a key may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(members(annotation))
    return [model for part in get_args(annotation) for model in _models(part)]


def members(model: type[BaseModel]) -> tuple[type[BaseModel], ...]:
    """Return the models that a key of this type may hold. A type with `choices` has those of a registry."""
    choices = vars(model).get("choices")
    return (model,) if choices is None else tuple(choices.__get__(None, model)())


def _marks(model: type[BaseModel]) -> set[str]:
    """Return pydantic's names for a member of a union: its name, and the texts of its Literal keys."""
    kinds = [field.annotation for field in model.model_fields.values()]
    return {
        model.__name__,
        *(text for kind in kinds if get_origin(kind) is Literal for text in get_args(kind)),
    }


def _about(table: type[BaseModel], keys: list[str]) -> str:
    field = described(table).get(keys[-1]) if keys else None
    return f". {' '.join(field.description.split())}" if field and field.description else ""
