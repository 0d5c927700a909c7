"""The option `--data KEY=VALUE`, which gives a key of the section `[data]` of `agent.toml`."""

import tomllib
from collections.abc import Mapping, Sequence

from pydantic import ValidationError

from agent.settings.sources import CsvSettings
from fleet.demo.provision import Value
from fleet.trial.columns import nearest
from fleet.trial.usage import UsageError

HINT = "here a key of [data] is set with --data KEY=VALUE"
"""The hint that is added to a message which names such a key."""


def names_a_key(message: str) -> bool:
    """Whether a message advises the user to set a key of `[data]`."""
    return "[data] " in message and not message.startswith("[data] ")


def with_hint(message: str) -> str:
    """Return a message, with a hint on `--data` if it names a key of `[data]`."""
    return f"{message}; {HINT}" if names_a_key(message) else message


def data_options(texts: Sequence[str], elsewhere: Mapping[str, str]) -> dict[str, Value]:
    """Read each `KEY=VALUE` as in `agent.toml`; a value that is not TOML is taken as a text.

    >>> data_options(["gap=1", "separator=;"], {})
    {'gap': 1, 'separator': ';'}

    Args:
        texts: the options.
        elsewhere: the keys that this option cannot set, each with the text that says why.

    Raises:
        UsageError: an option has no key, or a key that is in `elsewhere`.
    """
    return dict(_option(text, elsewhere) for text in texts)


def _option(text: str, elsewhere: Mapping[str, str]) -> tuple[str, Value]:
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key.isidentifier():
        raise UsageError(f"--data {text}: expected KEY=VALUE, as in the section [data] of agent.toml: gap=1")
    if (other := elsewhere.get(key)) is not None:
        raise UsageError(f"--data {text}: {key} {other}")
    try:
        found: Value = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value.strip()
    return key, found


def csv_settings(section: Mapping[str, Value]) -> CsvSettings:
    """Check the section `[data]` of a CSV source.

    Raises:
        UsageError: a key or a value is invalid.
    """
    try:
        return CsvSettings.model_validate(section)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise UsageError(
                f"[data] has no key {key!r}{nearest(key, CsvSettings.model_fields)}; docs/settings.md has all"
            ) from None
        raise UsageError(f"[data] {key}: {first['msg'].removeprefix('Value error, ')}") from None
