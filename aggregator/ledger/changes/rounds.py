"""Changes that open and close rounds."""

import json
from collections.abc import Iterable
from typing import Any

from aggregator.ledger.changes.transactions import Transactions
from aggregator.ledger.records import SavedCoding
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Cohort


class RoundChanges(Transactions):
    """Changes of the tables `rounds`, `states` and `codings`."""

    def save_round(
        self,
        round_id: RoundId,
        kind: str,
        attempt: int,
        cohorts: Iterable[Cohort],
        now: float,
        quorum: int | None = None,
    ) -> None:
        """Open a round, or its next attempt.

        Args:
            round_id: of the round.
            kind: the name of its phase.
            attempt: counted from 0.
            cohorts: by attempt.
            now: in seconds since 1970.
            quorum: the number of updates that close it, if `[rounds] quorum` is a share; else None.
        """
        self._run(
            "INSERT INTO rounds (generation, round, kind, attempt, cohorts, opened_at, quorum)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET attempt = excluded.attempt,"
            " cohorts = excluded.cohorts, elapsed_s = 0, quorum = excluded.quorum",
            *round_id,
            kind,
            attempt,
            json.dumps([cohort.model_dump(exclude_none=True) for cohort in cohorts]),
            now,
            quorum,
        )

    def save_parts(self, round_id: RoundId, parts: str) -> None:
        """Store the parts of the algorithm that an open round is computed with."""
        self._run("UPDATE rounds SET parts = ? WHERE generation = ? AND round = ?", parts, *round_id)

    def save_state(self, round_id: RoundId, part: str, data: bytes, digest: bytes) -> None:
        """Store the state of a server optimizer after a round, with its digest."""
        self._run("REPLACE INTO states VALUES (?, ?, ?, ?, ?)", *round_id, part, data, digest)

    def save_coding(self, round_id: RoundId, saved: SavedCoding) -> None:
        """Store the coding of a round's model."""
        self._run("REPLACE INTO codings VALUES (?, ?, ?, ?, ?, ?, ?)", *round_id, *saved)

    def save_elapsed(self, round_id: RoundId, elapsed_s: float) -> None:
        """Store how long the open attempt has lasted, in seconds."""
        self._run("UPDATE rounds SET elapsed_s = ? WHERE generation = ? AND round = ?", elapsed_s, *round_id)

    def close_round(
        self,
        round_id: RoundId,
        model: bytes,
        devices: int,
        samples: int,
        summary: dict[str, Any],
        now: float,
        rule: str | None,
        task: bytes | None = None,
        parts: str | None = None,
    ) -> None:
        """Close a round.

        Args:
            round_id: of the round.
            model: the digest of the model that it closes with.
            devices: the number of updates that counted.
            samples: the sum of their n_k.
            summary: its figures.
            now: in seconds since 1970.
            rule: name and version of the rule that made the model; None: no rule made it.
            task: the digest of the task that the model belongs to; None: the generation's newest.
            parts: the parts of the algorithm that made it.
        """
        self._run(
            "UPDATE rounds SET closed_at = ?, model = ?, devices = ?, samples = ?, summary = ?, rule = ?,"
            " task = ?, parts = ? WHERE generation = ? AND round = ?",
            now,
            model,
            devices,
            samples,
            json.dumps(summary),
            rule,
            task if task is not None else self.newest("task", round_id.generation),
            parts,
            *round_id,
        )
