"""Reading a ledger: for the aggregator, and for replay."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from aggregator.ledger.queries.answers import AnswerQueries
from aggregator.ledger.queries.contents import ContentQueries
from aggregator.ledger.queries.devices import DeviceQueries
from aggregator.ledger.queries.masking import MaskingQueries
from aggregator.ledger.queries.privacy import PrivacyQueries
from aggregator.ledger.queries.rounds import RoundQueries
from aggregator.ledger.queries.summaries import SummaryQueries
from aggregator.ledger.queries.updates import UpdateQueries
from fedge.errors import StateError
from fedge.storage.atomic_files import exists
from fedge.storage.databases import database_error, open_read_only


class LedgerReader(
    AnswerQueries,
    ContentQueries,
    DeviceQueries,
    MaskingQueries,
    PrivacyQueries,
    RoundQueries,
    SummaryQueries,
    UpdateQueries,
):
    """All queries on an open ledger; none of them changes anything.

    Raises:
        DamagedState: from any method, when the data are damaged.
        StateError: from any method, when the disk is failing.
    """


@contextmanager
def read_only(path: Path) -> Iterator[LedgerReader]:
    """Open a ledger for reading, also while its aggregator runs.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    with connect_read_only(path) as db, closing(LedgerReader(path, db)) as reader:
        yield reader


@contextmanager
def connect_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the database of a ledger read-only.

    Raises:
        StateError: there is no ledger, or it cannot be read.
    """
    if not exists(path):
        raise StateError(f"{path}: there is no ledger; the aggregator makes it when it first runs")
    try:
        db = open_read_only(path)
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    try:
        yield db
    except sqlite3.Error as error:
        raise database_error(path, error) from error
    finally:
        db.close()
