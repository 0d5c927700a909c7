"""Changes of verdicts on updates."""

import json
from collections.abc import Collection, Mapping

from aggregator.core.verdicts import KeptVerdict, Verdict, Weighed
from aggregator.ledger.changes.transactions import Transactions
from fedge.wire.freshness import RoundId
from fedge.wire.reasons import Reason
from fedge.wire.topics import lane_of

_THIS_ONE = "answers INDEXED BY answers_by_device WHERE device = ?4 AND generation = ?1 AND round = ?2"
"""A device's answer in a round: without the hint SQLite would look through all answers of the round."""
_FIRST = (
    "INSERT INTO answers SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, NULL, NULL, NULL"  # noqa: S608 # texts of ours
    f" WHERE NOT EXISTS (SELECT 1 FROM {_THIS_ONE})"
)
_INSTEAD = (
    "UPDATE answers SET digest = ?5, verdict = ?6, reason = ?7, detail = ?8, samples = ?9, metrics = ?10,"  # noqa: S608 # texts of ours
    f" began = ?11 WHERE rowid = (SELECT rowid FROM {_THIS_ONE}"
    f" AND ((?7 = '{Reason.QUARANTINED}' AND digest = ?5)"
    " OR (verdict = 'refused' AND coalesce(?11, round) > coalesce(began, round))))"
    " AND NOT EXISTS (SELECT 1 FROM rounds WHERE (generation, round) = (?1, ?2) AND closed_at IS NOT NULL)"
)


class AnswerChanges(Transactions):
    """Changes of the table `answers`."""

    def verdict(self, device: str, digest: bytes) -> KeptVerdict | None:
        """As `AnswerQueries.verdict`; it is asked for each message, so other changes go on waiting."""
        if (device, digest) in self._judged:
            self._catch_up()
        elif (device, digest) in self._without_verdict:
            return None
        return super().verdict(device, digest)

    def look_up(self, updates: Collection[tuple[str, bytes]]) -> None:
        """Look up verdicts on many updates with one query, so that `verdict` needs none for most of them.

        Args:
            updates: device and digest of each; at most 1,000.
        """
        self._without_verdict.update(updates)
        # A few texts of the statement serve all numbers: SQLite compiles each text once.
        asked = [*updates, *[next(iter(updates))] * ((1 << (len(updates) - 1).bit_length()) - len(updates))]
        rows = self._at_once(
            f"WITH asked(device, digest) AS (VALUES {', '.join(['(?, ?)'] * len(asked))})"  # noqa: S608 # question marks
            # The index has the prefix of each digest, so hardly any row of another update is read.
            " SELECT asked.device, asked.digest FROM asked JOIN answers USING (device, digest)"
            " WHERE prefix = substr(asked.digest, 1, 4)",
            *(value for pair in asked for value in pair),
        )
        self._without_verdict.difference_update(rows)

    def save_answer(self, round_id: RoundId, device: str, answer: Verdict) -> None:
        """Store a verdict; the first one stays.

        While the round is open there are two exceptions: the device is set aside; or its update was refused,
        and this one was made for a newer version (schedule `buffered`).
        """
        self._judged.add((device, answer.digest))
        row = (
            *round_id,
            lane_of(device),
            device,
            answer.digest,
            answer.verdict,
            answer.reason,
            answer.detail,
            answer.samples,
            json.dumps(answer.metrics),
            answer.began,
        )
        # In this order, also if both wait: the second one changes what the first one has stored before.
        self._run_soon(_FIRST, *row)
        self._run_soon(_INSTEAD, *row)
        if answer.verdict == "admitted":
            self._run_soon(
                "UPDATE devices SET declined_for = NULL, declined_at = NULL"
                " WHERE device = ? AND declined_for IS NOT NULL",
                device,
            )

    def save_weighed(self, round_id: RoundId, weighed: Mapping[str, Weighed]) -> None:
        """Store how much admitted updates counted in a round that closes."""
        for device, each in weighed.items():
            self._run_soon(
                "UPDATE answers SET counted = ?, far = ?, running = ?"
                " WHERE generation = ? AND round = ? AND lane = ? AND device = ?",
                each.counted,
                each.far,
                each.running,
                *round_id,
                lane_of(device),
                device,
            )

    def set_aside(self, round_id: RoundId, device: str, answer: Verdict) -> None:
        """Replace an update's admission by a refusal, for good; its frames stay as long as its round's."""
        self._run(
            "UPDATE answers SET verdict = ?, reason = ?, detail = ?"
            " WHERE generation = ? AND round = ? AND lane = ? AND device = ? AND digest = ?",
            answer.verdict,
            answer.reason,
            answer.detail,
            *round_id,
            lane_of(device),
            device,
            answer.digest,
        )

    def drop_answer(self, round_id: RoundId, device: str, digest: bytes) -> None:
        """Remove the refusal of a device that was set aside, while the round is open: it may send again."""
        self._run(
            "DELETE FROM answers WHERE generation = ? AND round = ? AND lane = ? AND device = ?"  # noqa: S608 # texts of ours
            f" AND digest = ? AND reason = '{Reason.QUARANTINED}' AND NOT EXISTS (SELECT 1 FROM rounds"
            " WHERE (generation, round) = (answers.generation, answers.round) AND closed_at IS NOT NULL)",
            *round_id,
            lane_of(device),
            device,
            digest,
        )
