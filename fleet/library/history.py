"""`read_rounds`: the rounds in an aggregator's ledger."""

from pathlib import Path

from aggregator.ledger.layout import FILE
from aggregator.ledger.views import RoundRow
from aggregator.ledger.views import read_rounds as rows_of


def read_rounds(path: Path | str) -> list[RoundRow]:
    """Every round of the newest generation, oldest first; safe while the aggregator runs.

    Args:
        path: an aggregator's state folder, or the ledger in it.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    found = Path(path)
    return rows_of(found / FILE if found.is_dir() else found)
