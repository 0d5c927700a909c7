"""States of an algorithm in the memory of a device."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.core.state import AlgorithmState
from agent.shell.memory import Memory
from fedge.wire.freshness import Attempt, RoundId

LINEAGE = hashlib.sha256(b"lineage").digest()


def payload(number: int) -> bytes:
    return b"update of round %d" % number


def digest(number: int) -> bytes:
    return hashlib.sha256(payload(number)).digest()


def state_of(number: int, size: int = 100) -> AlgorithmState:
    return AlgorithmState(RoundId(1, number), LINEAGE, b"state %03d " % number * (size // 10))


def save(memory: Memory, number: int, state: AlgorithmState | None) -> None:
    memory.save_update(Attempt(RoundId(1, number), 0), digest(number), payload(number), None, state)


@contextmanager
def opened(path: Path) -> Iterator[Memory]:
    memory = Memory(path)
    try:
        yield memory
    finally:
        memory.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.db"
