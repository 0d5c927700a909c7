"""What the documentation points at is there: files, and tests by their names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")))
PATH = re.compile(
    r"`((?:agent|aggregator|fedge(?!/v\d)|fleet|tests|deploy|docs|benchmarks|examples)/[\w./@-]+)`"
)
TEST = re.compile(r"`(test_\w+)`")
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
TESTS = set(
    re.findall(r"def (test_\w+)", "".join(file.read_text() for file in (ROOT / "tests").rglob("*.py")))
) | {file.stem for file in (ROOT / "tests").rglob("test_*.py")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [name for name in PATH.findall(text) if not (ROOT / name).exists()]
    missing += [name for name in TEST.findall(text) if name not in TESTS]
    missing += [target for target in LINK.findall(text) if not (page.parent / target).exists()]
    assert not missing, f"{page.name} names what is not there: {missing}"
