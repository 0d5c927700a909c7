"""Counts and statuses of devices that are written together with each beat.

One transaction writes them all, so a device cannot cause a disk write with each message. What a crash loses
are counts, and statuses that the broker still retains.
"""

from aggregator.ledger.writing import Ledger
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason


class Pending:
    """Holds at most one status and one count per device."""

    def __init__(self) -> None:
        self._refused: dict[str, tuple[int, Reason]] = {}
        self._statuses: dict[str, tuple[Status, float]] = {}
        self._written: set[str] = set()
        """Devices whose status was written since the last beat."""

    def count(self, device: str, reason: Reason) -> None:
        """Count one refused message of a device."""
        self._refused[device] = (self._refused.get(device, (0, reason))[0] + 1, reason)

    def keep(self, ledger: Ledger, device: str, status: Status, now: float) -> None:
        """Keep a status; the first of a device after each beat is written at once."""
        if device in self._written:
            self._statuses[device] = (status, now)
        else:
            self._written.add(device)
            ledger.save_status(device, status, now)

    def write(self, ledger: Ledger) -> None:
        """Write what has gathered, inside the caller's transaction."""
        for device, (status, now) in self._statuses.items():
            ledger.save_status(device, status, now)
        for device, (number, reason) in self._refused.items():
            ledger.count_refusals(device, number, reason)
        self._statuses.clear()
        self._refused.clear()
        self._written.clear()
