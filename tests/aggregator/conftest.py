"""A new ledger, for each test that asks for one and has none of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from aggregator.ledger.layout import FILE
from aggregator.ledger.writing import Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / FILE)
    yield ledger
    ledger.close()
