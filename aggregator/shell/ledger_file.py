"""Opening the file of the ledger; a damaged one is put aside."""

import logging
from pathlib import Path

from aggregator.ledger.writing import Ledger
from fedge.errors import DamagedState
from fedge.storage.atomic_files import quarantine

log = logging.getLogger("fedge.aggregator")


def open_ledger(path: Path) -> Ledger:
    """Open the ledger in a file; a damaged file is put aside, and an empty ledger takes its place.

    Raises:
        StateError: the disk is full, read-only or failing.
    """
    try:
        return Ledger(path)
    except DamagedState as error:
        return begin_anew(path, error)


def begin_anew(path: Path, error: DamagedState) -> Ledger:
    """Put a damaged file aside, log that, and open an empty ledger.

    `aggregator.shell.startup` decides whether the empty ledger may serve the fleet.

    Raises:
        StateError: the disk is full, read-only or failing.
    """
    log.error(
        "%s; the file was put aside as %s, and an empty ledger takes its place", error, quarantine(path).name
    )
    return Ledger(path)
