"""A federation with parts from outside, which are registered for its tests alone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fedge.algorithms.registry import registered
from tests.aggregator.parts.lab import Lab
from tests.aggregator.toys import TOYS


@pytest.fixture(autouse=True)
def _toys() -> Iterator[None]:
    with registered(*TOYS):
        yield


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(tmp_path)
    yield lab
    lab.ledger.close()
