"""What a ledger tells: to the aggregator that keeps it, and to those who compute its rounds again."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aggregator.ledger.queries.answers import AnswerQueries
from aggregator.ledger.queries.contents import ContentQueries
from aggregator.ledger.queries.devices import DeviceQueries
from aggregator.ledger.queries.rounds import RoundQueries
from aggregator.ledger.queries.summaries import SummaryQueries
from aggregator.ledger.queries.updates import UpdateQueries
from fedge.errors import StateError
from fedge.storage.atomic_files import exists
from fedge.storage.databases import database_error, open_read_only


class LedgerReader(AnswerQueries, ContentQueries, DeviceQueries, RoundQueries, SummaryQueries, UpdateQueries):
    """The questions that can be asked of an open ledger; none of them changes anything.

    Raises:
        DamagedState: from any method, when what is read is not what was written.
        StateError: from any method, when the disk is failing.
    """


@contextmanager
def read_only(path: Path) -> Iterator[LedgerReader]:
    """A ledger to look at, also while its aggregator runs.

    Raises:
        StateError: there is none, or it cannot be read.
    """
    with connect_read_only(path) as db:
        yield LedgerReader(path, db)


@contextmanager
def connect_read_only(path: Path) -> Iterator[sqlite3.Connection]:
    """The database of a ledger, in which every attempt to change something fails.

    Raises:
        StateError: there is none, or it cannot be read.
    """
    if not exists(path):
        raise StateError(f"{path}: there is no ledger; it is made when the aggregator first runs")
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
