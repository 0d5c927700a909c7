"""docs/settings.md has every key of every settings file, as the models have it now."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from fedge.algorithms.registry import registered
from fedge.service.settings import FileSettings, Section
from fleet.cli import settings_reference
from fleet.cli.settings_reference import FILES, reference
from tests.aggregator.toys import MEDIAN

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"


def test_the_page_is_what_the_models_say_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "a key has changed: make docs"


def of_file(name: str) -> str:
    return PAGE.read_text(encoding="utf-8").partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", FILES)
def test_no_key_is_missing(name: str) -> None:
    """Found by pydantic's JSON schema, which walks over the models in another way."""
    schema = FILES[name][0].model_json_schema()
    page = of_file(name)
    parts = schema.get("$defs", {}).items()
    tables = [schema, *(part for title, part in parts if title != "Hours")]  # one text in the file
    keys = {key for table in tables for key in table.get("properties", {})}
    assert len(keys) > 4
    for key in keys:
        row = re.search(
            rf"^\| `{key}` \| |^### `\[([\w.]+\.)?{key}(\.NAME)?\]` in |^- .*`{key}[ `]", page, re.M
        )
        assert row, f"{key} stands nowhere"


@pytest.mark.parametrize("name", FILES)
def test_every_key_says_what_it_means_and_what_variable_sets_it(name: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \| `(\w+)` \|$", of_file(name), re.M)
    assert len(rows) > 4
    for key, kind, default, meaning, variable in rows:
        assert kind, key
        assert default, key
        assert len(meaning) > 10, f"{key} has no docstring"
        assert variable.startswith(FILES[name][0].ENV_PREFIX)
        assert variable.endswith(key.upper())


def test_what_stood_in_no_document_is_told() -> None:
    for key in ("missing", "gap", "minimum"):
        assert f"\n| `{key}` |" in of_file("agent.toml")
    for text in ("| `momentum` |", "| `weight_decay` |", "| `accuracy` |", '"tanh"', "`features = 784`"):
        assert text in of_file("federation.toml")


class Part(Section):
    """`[hold]`: which rows."""

    by: Literal["time", "random"] = "time"
    """In which order."""


class Cut(Section):
    """What a range is."""

    low: float = Field(default=0.5, gt=-1, le=2_000)
    """Its lower end | or none."""


class Example(FileSettings):
    """Kinds of keys that others may add."""

    ENV_PREFIX: ClassVar[str] = "FEDGE_EXAMPLE_"

    either: Annotated[float, Field(ge=0)] | Part = 0.2
    """A number, or a table."""
    hold: Part | None = None
    """Which rows; without it all."""
    ranges: dict[str, Cut] = Field(default_factory=dict)
    """By column."""
    pairs: dict[str, tuple[float, float]] = Field(default_factory=dict)
    """By column."""
    sizes: tuple[int | str, ...] = ()
    """Several."""
    nothing: None = None
    """Never anything."""


def test_kinds_of_keys_that_are_not_there_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_reference, "FILES", {"example.toml": (Example, "For a test.")})
    page = reference().partition("## `example.toml`")[2]
    for line in (
        "| `either` | number, or table | `0.2` | A number, or a table. | `FEDGE_EXAMPLE_EITHER` |",
        "| `pairs` | table of lists of numbers by name | `{}` | By column. | `FEDGE_EXAMPLE_PAIRS` |",
        "| `sizes` | list of whole numbers, or texts | `[]` | Several. | `FEDGE_EXAMPLE_SIZES` |",
        "### `[either]` in `example.toml`",
        '| `by` | `"time"`, `"random"` | `"time"` | In which order. | `FEDGE_EXAMPLE_EITHER__BY` |',
        "### `[hold]` in `example.toml`",
        "This table may be left out. Which rows; without it all.",
        "The keys are those of `[either]`.",
        "### `[ranges.NAME]` in `example.toml`",
        "| `low` | number, > -1, ≤ 2,000 | `0.5` | Its lower end \\| or none. | "
        "`FEDGE_EXAMPLE_RANGES__NAME__LOW` |",
    ):
        assert f"{line}\n" in page, page
    assert page.count("| `by` |") == 1


def test_a_part_from_outside_is_told_with_its_options_and_no_code_for_it() -> None:
    with registered(MEDIAN):
        page = reference().partition("### `[rule]` in `federation.toml`")[2].partition("\n### ")[0]
    assert "\n- `toy-median`: The median of each entry" in page
    assert "| `shift` | number | `0.0` | What is added to each entry" in page
    assert "| `FEDGE_AGGREGATOR_RULE__SHIFT` |" in page
