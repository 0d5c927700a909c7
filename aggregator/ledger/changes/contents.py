"""Changes of tasks, models and exports, and their slots."""

from aggregator.ledger.changes.transactions import Transactions
from fedge.wire.freshness import RoundId
from fedge.wire.messages.frame import Blob

MOVED = bytes(32)
"""The digest in a slot whose content has moved to the other one: it still has frames to clear."""


class ContentChanges(Transactions):
    """Changes of the tables `contents` and `slots`."""

    def save_content(self, kind: str, round_id: RoundId, blob: Blob, data: bytes) -> None:
        """Store a task or model, or the coded form of one, and the slot that it is published in.

        Of coded forms only those in slots stay: the models themselves are kept.
        """
        # A later generation may store the same bytes again; then they are its newest content.
        self._run("REPLACE INTO contents VALUES (?, ?, ?, ?, ?)", blob.digest, kind, *round_id, data)
        self.save_slot(kind, blob)

    def save_slot(self, kind: str, blob: Blob) -> None:
        """Store what a slot holds, in how many frames."""
        self._run(
            "REPLACE INTO slots VALUES (?, ?, ?, ?, ?)", kind, blob.slot, blob.digest, blob.frames, blob.size
        )

        if kind == "coded":
            self._run(
                "DELETE FROM contents WHERE kind = 'coded' AND digest NOT IN"
                " (SELECT digest FROM slots WHERE kind = 'coded')"
            )

    def move_content(self, kind: str, blob: Blob) -> None:
        """Store that a content is in the other slot, from which it is published from now on.

        In its former slot it becomes `MOVED`.
        """
        self._run(
            "UPDATE slots SET digest = ? WHERE kind = ? AND slot != ? AND digest = ?",
            MOVED,
            kind,
            blob.slot,
            blob.digest,
        )
        self.save_slot(kind, blob)

    def save_key(self, blob: Blob) -> None:
        """Store the slot of a key frame, which is a model that is stored already."""
        self._run(
            "REPLACE INTO slots VALUES ('key', ?, ?, ?, ?)", blob.slot, blob.digest, blob.frames, blob.size
        )

    def save_export(self, blob: Blob) -> None:
        """Store the slot of the announced exported file, so that the next file does not overwrite it."""
        self._run("DELETE FROM slots WHERE kind = 'export'")
        self._run(
            "INSERT INTO slots VALUES ('export', ?, ?, ?, ?)", blob.slot, blob.digest, blob.frames, blob.size
        )
