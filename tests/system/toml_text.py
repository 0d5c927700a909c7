"""Writing a program's configuration."""

import json
from collections.abc import Mapping
from typing import Any


def toml(tables: Mapping[str, Any]) -> str:
    """TOML of keys, tables and inline tables; JSON spells texts, numbers and lists of them the same."""
    keys = [f"{key} = {value_of(value)}" for key, value in tables.items() if not isinstance(value, Mapping)]
    for name, table in tables.items():
        if isinstance(table, Mapping):
            keys += [f"\n[{name}]", *(f"{key} = {value_of(value)}" for key, value in table.items())]
    return "\n".join(keys) + "\n"


def value_of(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {value_of(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(value_of, value)) + "]"
    return json.dumps(value)
