"""The words that tests wait for stand in the programs: else a test would wait for its whole patience."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import agent
import aggregator
import fleet.pki
from tests import milestones

PROGRAMS = (agent, aggregator, fleet.pki)
PATTERNS = {
    milestones.IDENTITY: "device %s of federation",
    milestones.LISTENING: "connected",
    milestones.begins("train"): " begins",
    milestones.closed("train"): " closed",
}
"""What stands in a source for a milestone in which something is put in."""
WORDS = [
    *(text for name, text in vars(milestones).items() if name.isupper()),
    milestones.begins("train"),
    milestones.closed("train"),
]


def texts() -> Iterator[str]:
    """The texts in the programs, without docstrings."""
    for package in PROGRAMS:
        for file in Path(str(package.__file__)).parent.rglob("*.py"):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            told = {
                id(node.value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            }
            for node in ast.walk(tree):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
                    yield node.value


@pytest.fixture(scope="module")
def told() -> str:
    return "\n".join(texts())


@pytest.mark.parametrize("words", WORDS)
def test_a_program_tells_it(told: str, words: str) -> None:
    assert PATTERNS.get(words, words) in told, "tests/milestones.py has other words than the programs"


def test_the_pattern_of_an_identity_finds_the_name() -> None:
    assert re.findall(milestones.IDENTITY, "fedge-agent 1: device pi-1 of federation pumps") == ["pi-1"]
