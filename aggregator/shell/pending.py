"""What of devices is written with the beat: counts, and statuses that change often.

One transaction writes all of it, so that no device has the disk work for each of its messages. What a crash
forgets is a count, or a status that still lies at the broker.
"""

from aggregator.ledger.writing import Ledger
from fedge.wire.messages.status import Status
from fedge.wire.reasons import Reason


class Pending:
    """At most one status and one count for each device."""

    def __init__(self) -> None:
        self._refused: dict[str, tuple[int, Reason]] = {}
        self._statuses: dict[str, tuple[Status, float]] = {}
        self._written: set[str] = set()
        """Whose status was written since the last beat."""

    def count(self, device: str, reason: Reason) -> None:
        """A device has sent something in vain."""
        self._refused[device] = (self._refused.get(device, (0, reason))[0] + 1, reason)

    def keep(self, ledger: Ledger, device: str, status: Status, now: float) -> None:
        """Keep a status: the first one between two beats at once."""
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
