"""What the documentation points at is there: files, and tests by their names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
PATH = re.compile(
    r"`((?:agent|aggregator|fedge(?!/v\d)|fleet|tests|deploy|docs|benchmarks|examples)/[\w./@-]+)`"
)
TEST = re.compile(r"`(?:([\w/]+)(?:\.py)?::)?((?:test_|…)\w+)(…?)`")
"""Its file's path or the end of that, if told; its name, `…` for what is left out; whether more follows."""
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
TESTS = {
    str(file.relative_to(ROOT).with_suffix("")): {
        file.stem,
        *re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8")),
    }
    for file in (ROOT / "tests").rglob("*.py")
}


def is_a_test(file: str, name: str, more: str) -> bool:
    pattern = re.compile(name.replace("…", r"\w*") + (r"\w*" if more else ""))
    return any(
        pattern.fullmatch(each) for path, names in TESTS.items() if path.endswith(file) for each in names
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [name for name in PATH.findall(text) if not (ROOT / name).exists()]
    missing += ["::".join(found[:2]) for found in TEST.findall(text) if not is_a_test(*found)]
    missing += [target for target in LINK.findall(text) if not (page.parent / target).exists()]
    assert not missing, f"{page.name} names what is not there: {missing}"
