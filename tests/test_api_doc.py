"""docs/api.md has every public name of the library, as the docstrings have it now."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest

import fedge
import fedge.testing
from fleet.cli.api_reference import PARTS, SECTIONS, reference

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
NAMES = [name for name in fedge.__all__ if name != "__version__"]


def test_the_page_is_what_the_docstrings_say_now() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "a docstring has changed: make docs"


def test_each_public_name_stands_on_the_page_once() -> None:
    told = [name for _, names in SECTIONS.values() for name in names]
    assert sorted(told) == sorted(NAMES)
    headings = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("### ")]
    assert len(headings) == len(set(headings))
    for name in NAMES:
        assert f"### `fedge.{name}`" in headings
    for name in fedge.testing.__all__:
        assert f"### `fedge.testing.{name}`" in headings


@pytest.mark.parametrize(
    "path",
    [
        *(f"fedge.{name}" for name in NAMES),
        *(f"fedge.testing.{name}" for name in fedge.testing.__all__),
        *(f"{module}.{name}" for module, names in PARTS.items() for name in names),
    ],
)
def test_each_public_name_and_method_has_a_docstring_of_its_own(path: str) -> None:
    module, _, name = path.rpartition(".")
    found = getattr(import_module(module), name)
    assert inspect.getdoc(found)
    for method, each in vars(found).items() if inspect.isclass(found) else ():
        if not method.startswith("_") and (inspect.isfunction(each) or isinstance(each, property)):
            assert inspect.getdoc(each), f"{path}.{method}"
