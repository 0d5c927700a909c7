"""Opening the file of the ledger; a damaged one is put aside."""

import logging
from pathlib import Path

from aggregator.ledger.writing import Ledger
from fedge.errors import DamagedState
from fedge.storage.atomic_files import exists, quarantine
from fedge.storage.segments import SUFFIX

log = logging.getLogger("fedge.aggregator")


def open_ledger(path: Path) -> Ledger:
    """Open the ledger in a file; a damaged file is put aside, and an empty ledger takes its place.

    Segments whose database was moved away are put aside too: they belong to it, and a new ledger would delete
    them.

    Raises:
        StateError: the disk is full, read-only or failing.
    """
    segments = path.with_name(path.name + SUFFIX)
    if not exists(path) and exists(segments):
        aside = quarantine(path)
        log.warning(
            "%s: is missing, so its updates in %s were put aside as %s%s; rename both to use them again",
            path,
            segments.name,
            aside.name,
            SUFFIX,
        )
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
