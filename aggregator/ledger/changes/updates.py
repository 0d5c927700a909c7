"""Changes of the spool of updates."""

from aggregator.ledger.changes.transactions import Transactions
from fedge.wire.messages.frame import Frame


class UpdateChanges(Transactions):
    """Changes of the table `frames`."""

    def spool(self, device: str, frame: Frame) -> None:
        """Store a frame of a device's update, unless it is stored already."""
        self._run(
            "INSERT OR IGNORE INTO frames VALUES (?, ?, ?, ?, ?, ?)",
            device,
            frame.id,
            frame.i,
            frame.n,
            frame.size,
            frame.data,
        )

    def drop_spool(self, device: str, digest: bytes) -> None:
        """Remove an update's frames, unless a kept round was computed from them: a device may send an update
        again that has counted."""
        self._run(
            "DELETE FROM frames WHERE device = ?1 AND digest = ?2 AND NOT EXISTS"
            " (SELECT 1 FROM answers WHERE device = ?1 AND digest = ?2 AND verdict = 'admitted')",
            device,
            digest,
        )
