"""What tests of bad input share: rows of what comes in, and what the error must tell.

An error tells where (file or variable, device or topic), the key or place in it, and the names and numbers
that put it right, in whichever words. Everything goes through the programs' own entry points; the broken
messages of each type are in `tests/fedge/test_broken_messages.py`.
"""

from typing import Any

import pytest

from fedge.nn.spec import Dense, NetworkSpec
from fedge.wire.messages.task import Task


def rows_of(table: dict[str, tuple[Any, ...]]) -> list[Any]:
    """Of each row its first two parts, and the others together: the facts that a message has to name."""
    return [pytest.param(first, second, facts, id=name) for name, (first, second, *facts) in table.items()]


def assert_told(error: Exception, begins: str, facts: list[str]) -> None:
    assert str(error).startswith(begins)
    assert [fact for fact in facts if fact not in str(error)] == []


AGENT = """\
federation = "farm"
device = "pi-1"
[data]
source = "csv"
path = "data.csv"
"""
TASK = Task(
    network=NetworkSpec(inputs=2, layers=(Dense(units=2),), loss="cross-entropy"),
    features=("heat", "rain"),
    classes=("dry", "wet"),
)
