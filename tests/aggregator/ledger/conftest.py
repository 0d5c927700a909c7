"""A new ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.ledger.writing import Ledger
from tests.aggregator.ledger.ledgers import LIFE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger(path)
    with ledger.transaction():
        ledger.begin_generation(LIFE)
    yield ledger
    ledger.close()
