"""Changes of the attempt of secure aggregation that takes place, and of the sums of masked rounds."""

import json
from hashlib import sha256

from aggregator.ledger.changes.transactions import Transactions
from aggregator.ledger.records import MaskedSum
from fedge.wire.freshness import RoundId


class MaskingChanges(Transactions):
    """Changes of the tables `masking`, `masked_sums` and `masked_groups`."""

    def begin_exchange(self, round_id: RoundId, terms: bytes) -> None:
        """Store the terms of an attempt; what is stored of any other one is removed."""
        self.drop_exchange()
        self._append(round_id, "", terms)

    def keep_masking(self, round_id: RoundId, device: str, digest: bytes) -> None:
        """Store that a message of a device was taken; its frames are in the spool."""
        self._append(round_id, device, digest)

    def end_phase(self, round_id: RoundId) -> None:
        """Store that a phase has ended."""
        self._append(round_id, "", b"")

    def drop_exchange(self) -> None:
        """Remove the attempt, with the masked updates."""
        self._run(
            "DELETE FROM frames WHERE rowid IN (SELECT frames.rowid FROM masking JOIN frames"
            " ON frames.device = masking.device AND prefix = substr(content, 1, 4) AND digest = content)"
        )
        self._run("DELETE FROM masking")
        self._freed = True

    def save_sum(self, round_id: RoundId, found: MaskedSum) -> None:
        """Store the sum of a round."""
        levels = None if found.levels is None else found.levels.astype("<i8").tobytes()
        self._run(
            "REPLACE INTO masked_sums VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *round_id,
            found.weight,
            found.value_bits,
            found.clip,
            json.dumps(list(found.devices)),
            levels,
            sha256(levels or b"").digest(),
        )
        self._run("DELETE FROM masked_groups WHERE generation = ? AND round = ?", *round_id)
        for place, group in enumerate(found.groups):
            part = group.levels.astype("<i8").tobytes()
            self._run(
                "INSERT INTO masked_groups VALUES (?, ?, ?, ?, ?, ?, ?)",
                *round_id,
                place,
                group.weight,
                json.dumps(list(group.devices)),
                part,
                sha256(part).digest(),
            )

    def _append(self, round_id: RoundId, device: str, content: bytes) -> None:
        self._run(
            "INSERT INTO masking (generation, round, device, content) VALUES (?, ?, ?, ?)",
            *round_id,
            device,
            content,
        )
