"""What devices send is spooled."""

from aggregator.ledger.changes.transactions import Transactions
from fedge.wire.messages.frame import Frame


class UpdateChanges(Transactions):
    """What is written into the table `frames`."""

    def spool(self, device: str, frame: Frame) -> None:
        """Keep a frame."""
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
        """Forget an update's frames, unless a kept round was computed of them (it may be sent once more)."""
        self._run(
            "DELETE FROM frames WHERE device = ?1 AND digest = ?2 AND NOT EXISTS"
            " (SELECT 1 FROM answers WHERE device = ?1 AND digest = ?2 AND verdict = 'admitted')",
            device,
            digest,
        )
