"""The words that tests wait for stand in the programs: else a test would wait in vain, for minutes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import agent
import aggregator
import fedge.service
import fleet.pki
from tests import milestones as told

IN_SOURCES = [
    (agent, f"^{told.CONNECTED} %s$"),
    (aggregator, f"^{told.CONNECTED} %s$"),
    (agent, f"^{told.NOT_CONNECTED}: %s$"),
    (aggregator, f"^{told.NOT_CONNECTED}: %s$"),
    (fleet.pki, f"^{told.LISTENING.strip()}$"),
    (agent, f"^{told.STOPPED}$"),
    (aggregator, f"^{told.STOPPED}$"),
    (aggregator, f"^{told.LEARNING_DONE}: "),
    (aggregator, f"{told.GIVES_WAY}$"),
    (aggregator, f"{told.WATCHES}$"),
    (agent, f"{told.COUNTS}$"),
    (agent, f"^{told.IGNORED} of round "),
    (fleet.pki, f"^{told.ENROLLED} $"),
    (agent, told.IDENTITY.replace(r"(\S+)", "%s")),
    (agent, f": {told.begins('%s')}$"),
    (aggregator, f"^{told.closed('')}$"),
    (fedge.service, f"^{told.STUCK}%s"),
    (agent, f"^{told.NOT_DUE}$"),
    (agent, f"^{told.RENEWED}$"),
]
"""The program that tells it, and a regular expression for the text in its source."""


def texts(package: ModuleType) -> Iterator[str]:
    """The texts in a program's source; of one into which something is put, its pieces."""
    for file in Path(str(package.__file__)).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


@pytest.mark.parametrize(("package", "pattern"), IN_SOURCES)
def test_a_program_tells_it(package: ModuleType, pattern: str) -> None:
    found = any(re.search(pattern, text) for text in texts(package))
    assert found, f"{package.__name__} has other words than tests/milestones.py"


def test_none_is_left_out() -> None:
    names = [name for name in vars(told) if name.isupper()]
    patterns = " ".join(pattern for _, pattern in IN_SOURCES)
    for name in names:
        assert getattr(told, name).strip().replace(r"(\S+)", "%s") in patterns, name


def test_the_pattern_of_an_identity_finds_the_name() -> None:
    assert re.findall(told.IDENTITY, "fedge-agent 1: device pi-1 of federation pumps") == ["pi-1"]
