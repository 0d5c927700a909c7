"""What the caller of a trial chooses."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.provision import Value
from fleet.trial.proposal import Wish
from fleet.trial.usage import UsageError

OPTIONS = {
    "source": "the files that are named",
    "path": "the files that are named",
    "label": "--label",
    "series": "--series",
    "missing": "--missing",
    "holdout": "--holdout and --by",
}
"""Keys of `[data]` that are said in another way, which would win."""


@dataclass(frozen=True)
class Options:
    """What the caller chose."""

    place: Path
    wish: Wish
    out: Path = Path("out/try")
    devices_from: str | None = None
    data: Mapping[str, Value] = field(default_factory=dict)
    """Further keys of `[data]`, for all devices."""
    leave_one_out: bool = False
    seconds: float | None = None
    """After about so long it ends with what is there."""
    seed: int = 1
    broker: str = "auto"


def data_option(text: str) -> tuple[str, Value]:
    """Read `KEY=VALUE` of `--data`, as it would stand in `agent.toml`; what is no TOML there is a text.

    >>> data_option("gap=1"), data_option("separator=;")
    (('gap', 1), ('separator', ';'))

    Raises:
        UsageError: there is no key, or it has an option of its own.
    """
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key.isidentifier():
        raise UsageError(f"--data {text}: expected KEY=VALUE, as in the section [data] of agent.toml: gap=1")
    if (option := OPTIONS.get(key)) is not None:
        raise UsageError(f"--data {text}: {key} is chosen by {option}")
    try:
        found: Value = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value.strip()
    return key, found
