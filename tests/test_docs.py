"""What the documentation points at is there: files, and tests by their names."""

import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OTHERS = ("examples/extend/README.md", "benchmarks/README.md")
PAGES = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *(ROOT / name for name in OTHERS)))
PATH = re.compile(
    r"`((?:agent|aggregator|fedge(?!/v\d)|fleet|tests|deploy|docs|benchmarks|examples)/[\w./@-]+)`"
)
TEST = re.compile(r"`(?:([\w/]+)(?:\.py)?::)?((?:test_|…)\w+)(…?)`")
"""Its file's path or the end of that, if told; its name, `…` for what is left out; whether more follows."""
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
PLACE = re.compile(r"\]\((?!https?:)([^)#]*)#([^)]+)\)")
"""A page, or nothing for this one, and a heading of it as GitHub links to it."""
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@cache
def written_tests() -> dict[str, set[str]]:
    """The names of all tests, and that of the file itself, by the file's path without its suffix."""
    return {
        str(file.relative_to(ROOT).with_suffix("")): {
            file.stem,
            *re.findall(r"def (test_\w+)", file.read_text(encoding="utf-8")),
        }
        for file in (ROOT / "tests").rglob("*.py")
    }


def is_a_test(file: str, name: str, more: str) -> bool:
    pattern = re.compile(name.replace("…", r"\w*") + (r"\w*" if more else ""))
    return any(
        pattern.fullmatch(each)
        for path, names in written_tests().items()
        if path.endswith(file)
        for each in names
    )


def places(page: Path) -> list[str]:
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_no_page_has_a_heading_twice() -> None:
    found = {page.name: places(page) for page in PAGES if page.name != "CHANGELOG.md"}
    twice = {name: [p for p in at if at.count(p) > 1] for name, at in found.items() if len(set(at)) < len(at)}
    assert not twice


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [name for name in PATH.findall(text) if not (ROOT / name).exists()]
    missing += ["::".join(found[:2]) for found in TEST.findall(text) if not is_a_test(*found)]
    missing += [target for target in LINK.findall(text) if not (page.parent / target).exists()]
    missing += [
        f"{target}#{place}"
        for target, place in PLACE.findall(text)
        if not target or target.endswith(".md")
        if place not in places((page.parent / target) if target else page)
    ]
    assert not missing, f"{page.name} names what is not there: {missing}"


def test_every_page_has_its_row_in_readme() -> None:
    """Decisions and evidence are linked from the pages; what is generated is a page too."""
    linked = set(LINK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}
    assert not pages - linked, "README's last table lists every page"
