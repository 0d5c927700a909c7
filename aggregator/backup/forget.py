"""Find and remove what the ledger holds of one device: the aggregator's part of `fedge forget`.

A closed round whose updates are removed cannot be computed again. It is marked, so that a replay gives the
reason and does not report damage. A model is a mean, and the contribution of one device stays in it.
"""

import os
from dataclasses import dataclass

from aggregator.config import FederationSettings
from aggregator.ledger.layout import FILE, UNWIPED
from aggregator.ledger.reading import LedgerReader
from aggregator.ledger.writing import Ledger
from fedge.errors import Conflict
from fedge.storage.atomic_files import exists, give_to_owner, make_folder
from fedge.storage.locks import lock
from fedge.wire.freshness import RoundId


@dataclass(frozen=True)
class Contribution:
    """What a ledger holds of one device."""

    rounds: tuple[RoundId, ...] = ()
    """Closed rounds in which its update or survey counted, and is kept."""
    open: RoundId | None = None
    """The open round, if the device has answered it."""
    left_out: tuple[int, ...] = ()
    """Generations that began without it, and name it."""
    named: tuple[RoundId, ...] = ()
    """Surveys that name it because it was far from the fleet."""
    unwiped: bool = False
    """Whether an earlier run for any device was interrupted, so that the file may still hold removed data."""
    size: int = 0
    """Bytes of its updates."""
    told: bool = False
    """Whether its status or a count of its refusals is kept."""

    @property
    def is_nothing(self) -> bool:
        """Whether the ledger holds nothing of it."""
        return self == Contribution()


def contribution(ledger: LedgerReader, device: str) -> Contribution:
    """Find what a ledger holds of one device."""
    answered, open_round = ledger.answered_by(device)
    return Contribution(
        rounds=answered,
        open=open_round,
        left_out=ledger.beginnings_without(device),
        named=ledger.surveys_that_name(device),
        unwiped=ledger.mark(UNWIPED) is not None,
        size=ledger.bytes_of(device),
        told=device in ledger.heard(),
    )


def forget(settings: FederationSettings, device: str) -> Contribution:
    """Remove what the ledger holds of a device, and every trace of it in the file; return what that was.

    A second call removes nothing more, but finishes an interrupted one.

    Raises:
        Conflict: an aggregator works with the state folder; nothing was removed.
        StateError: the ledger cannot be read or written.
    """
    folder = make_folder(settings.state.folder)
    path = folder / FILE
    try:
        held = lock(folder)
    except Conflict as error:
        raise Conflict(f"{error}: stop the aggregator, run this again, and start it") from None
    try:
        if not exists(path):
            return Contribution()
        ledger = Ledger(path)
        try:
            found = contribution(ledger, device)
            with ledger.transaction():
                ledger.forget_device(device)
            ledger.wipe()
        finally:
            ledger.close()
        give_to_owner(folder, path, folder / "lock")
        return found
    finally:
        os.close(held)
