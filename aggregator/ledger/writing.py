"""The ledger as the aggregator keeps it: what it writes, all or nothing and durable."""

import json
import sqlite3
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from aggregator.answers import Answer, Missed
from aggregator.ledger.layout import MIGRATIONS, UNWIPED
from aggregator.ledger.reading import Beginning, LedgerReader, Life
from fedge.freshness import RoundId
from fedge.messages import Blob, Cohort, Frame, Status
from fedge.reasons import Reason
from fedge.store import Connect, database_error, open_database, transaction, wipe
from fedge.topics import lane_of

REMOVED = "?"
"""In the place of a device's id where a generation began without it: no device is called so."""


class Ledger(LedgerReader):
    """The database. Methods that change something belong inside `transaction`, which makes them durable.

    Raises:
        DamagedState: from any method, also the first, when what is read is not what was written.
        StateError: from any method, when the disk is full, read-only or failing; nothing has changed then.
    """

    def __init__(self, path: Path, connect: Connect = open_database) -> None:
        super().__init__(path, connect(path, MIGRATIONS))

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, and durable when it ends."""
        return transaction(self._db, self._path, begin="BEGIN")  # nobody else writes

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # ── a generation's life ────────────────────────────────────────────────────────────────────────

    def begin_life(self, life: Life) -> None:
        """Begin a generation: what was learnt before is kept, but no longer counts.

        What closed rounds were computed of stays as long as other rounds do: somebody may go back to them.
        Of the open round nothing stays: what was admitted there never counted.
        """
        self._run(
            "REPLACE INTO life VALUES (1, ?, ?, ?)",
            life.ledger,
            life.generation,
            life.learnt,
        )
        self._run(
            "DELETE FROM answers WHERE (generation, round) NOT IN"
            " (SELECT generation, round FROM rounds WHERE closed_at IS NOT NULL)"
        )
        self._run(
            "DELETE FROM frames WHERE (device, digest) NOT IN"
            " (SELECT device, digest FROM answers WHERE verdict = 'admitted')"
        )

    def save_mark(self, name: str, value: str | None) -> None:
        """Note something under a name; None: nothing any more."""
        if value is None:
            self._run("DELETE FROM marks WHERE name = ?", name)
        else:
            self._run("REPLACE INTO marks VALUES (?, ?)", name, value)

    def save_beginning(self, generation: int, beginning: Beginning) -> None:
        """Keep what a generation without a survey begins with."""
        self._run(
            "REPLACE INTO beginnings VALUES (?, ?, ?, ?, ?, ?, ?)",
            generation,
            *beginning.source,
            beginning.last,
            json.dumps(beginning.without),
            beginning.survey,
            json.dumps(beginning.survey_without),
        )

    # ── rounds ─────────────────────────────────────────────────────────────────────────────────────

    def save_round(
        self,
        round_id: RoundId,
        kind: str,
        attempt: int,
        cohorts: Iterable[Cohort],
        now: float,
        quorum: int | None = None,
    ) -> None:
        """Open a round, or its next attempt; `quorum`: the updates it takes, where that is not the rule's."""
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

    def save_elapsed(self, round_id: RoundId, elapsed_s: float) -> None:
        """Keep how long the attempt has lasted."""
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
    ) -> None:
        """Close a round with the digest of its model, and the name of the rule that made it, if one did.

        `task`: the digest of what the model belongs to; None: the generation's newest.
        """
        self._run(
            "UPDATE rounds SET closed_at = ?, model = ?, devices = ?, samples = ?, summary = ?, rule = ?,"
            " task = ? WHERE generation = ? AND round = ?",
            now,
            model,
            devices,
            samples,
            json.dumps(summary),
            rule,
            task if task is not None else self.newest("task", round_id.generation),
            *round_id,
        )

    def retain(self, newest: RoundId, rounds: int, size: int, best: int | None = None) -> None:
        """Free what old rounds were computed of: keep `rounds` closed ones, or fewer in at most `size` bytes.

        They are counted over all generations, so that a new one can be taken back. The newest round and the
        one before stay, whatever they take, and the survey that the newest one's frozen layers are of. The
        file keeps its length: what is freed in it is used again.
        """
        closed = [
            RoundId(*row)
            for row in self._all(
                "SELECT generation, round FROM rounds WHERE closed_at IS NOT NULL"
                " ORDER BY generation DESC, round DESC LIMIT ?",
                rounds,
            )
        ]
        survey = self.survey_of(newest.generation)
        while closed:
            self.forget_rounds_before(
                closed.pop(), survey, newest._replace(round=best) if best is not None else None
            )
            if len(closed) < 2 or self.bytes_held() <= size:
                return

    def forget_rounds_before(
        self, round_id: RoundId, survey: int | None = None, best: RoundId | None = None
    ) -> None:
        """Free what older rounds were computed of, but the survey of this generation; their figures stay.

        The model of the last of them stays too: this round's updates began from it. So does that of `best`.
        """
        older = (
            "(generation < ?1 OR (generation = ?1 AND round < ?2)) AND NOT (generation = ?3 AND round = 0)"
        )
        values = (*round_id, 0 if survey is None else survey)
        self._run(
            "DELETE FROM frames WHERE (device, digest) IN"  # nosec B608 # texts of ours
            f" (SELECT device, digest FROM answers WHERE {older})",
            *values,
        )
        self._run(
            # By digest: a round that only measured closed with the model of the one before.
            f"DELETE FROM contents WHERE kind = 'model' AND {older} AND digest NOT IN"  # nosec B608 # texts of ours
            " (SELECT model FROM rounds WHERE model IS NOT NULL"
            " AND (generation, round) IN ((?1, ?2 - 1), (?4, ?5)))",
            *values,
            *(best or (0, 0)),
        )
        self._run(f"DELETE FROM answers WHERE {older}", *values)  # nosec B608 # texts of ours

    # ── updates ────────────────────────────────────────────────────────────────────────────────────

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

    def save_answer(self, round_id: RoundId, device: str, answer: Answer) -> None:
        """Keep a verdict; the first one stays, unless the device was set aside while the round is open."""
        self._run(
            "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"  # nosec B608 # texts of ours
            " SET verdict = excluded.verdict, reason = excluded.reason, detail = excluded.detail"
            f" WHERE excluded.reason = '{Reason.QUARANTINED}' AND excluded.digest = digest AND NOT EXISTS"
            " (SELECT 1 FROM rounds WHERE (generation, round) = (excluded.generation, excluded.round)"
            " AND closed_at IS NOT NULL)",
            *round_id,
            lane_of(device),
            device,
            answer.digest,
            answer.verdict,
            answer.reason,
            answer.detail,
            answer.samples,
            json.dumps(answer.metrics),
        )
        if answer.verdict == "admitted":
            self._run(
                "UPDATE devices SET declined_for = NULL, declined_at = NULL"
                " WHERE device = ? AND declined_for IS NOT NULL",
                device,
            )

    def set_aside(self, round_id: RoundId, device: str, answer: Answer) -> None:
        """Take back that an update counts: it never does again. Its frames stay as long as its round's."""
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
        """Take back a refusal of who was set aside, while the round is open: the update may come again."""
        self._run(
            "DELETE FROM answers WHERE generation = ? AND round = ? AND lane = ? AND device = ?"  # nosec B608 # texts of ours
            f" AND digest = ? AND reason = '{Reason.QUARANTINED}' AND NOT EXISTS (SELECT 1 FROM rounds"
            " WHERE (generation, round) = (answers.generation, answers.round) AND closed_at IS NOT NULL)",
            *round_id,
            lane_of(device),
            device,
            digest,
        )

    def forget_device(self, device: str) -> None:
        """Remove all that is kept of a device, and mark the rounds that cannot be computed again for that.

        Until `wipe` has ended the ledger says that its file may still hold it.
        """
        self.save_mark(UNWIPED, "")
        for round_id in self.surveys_that_name(device):
            self._rename_outlying(round_id, {device: REMOVED})
        incomplete = set(self.answered_by(device)[0])
        for generation in self.generations_begun():
            begun = self.beginning(generation)
            assert begun is not None
            if self._is_made_of(begun, incomplete, device):
                self._mark_forgotten(RoundId(generation, 0))
            names = {device: REMOVED}
            self.save_beginning(
                generation,
                replace(
                    begun,
                    without=tuple(names.get(name, name) for name in begun.without),
                    survey_without=tuple(names.get(name, name) for name in begun.survey_without),
                ),
            )
        for round_id in incomplete:
            self._mark_forgotten(round_id)
        for table in ("frames", "answers", "devices"):
            self._run(f"DELETE FROM {table} WHERE device = ?", device)  # nosec B608 # texts of ours

    def _is_made_of(self, begun: Beginning, rounds: set[RoundId], device: str) -> bool:
        """Whether a beginning is computed of what a device contributed to some of these rounds."""
        source = begun.source
        again = {source._replace(round=number) for number in range(source.round + 1, begun.last + 1)}
        surveyed = {RoundId(begun.survey, 0)} if begun.survey is not None and begun.survey_without else set()
        return bool(
            (device not in begun.without and rounds & again)
            or (device not in begun.survey_without and rounds & surveyed)
        )

    def _rename_outlying(self, round_id: RoundId, names: dict[str, str]) -> None:
        for each, found in self._surveys_with_outlying():
            if each == round_id:
                for one in found["outlying"]:
                    one["device"] = names.get(one["device"], one["device"])
                self._run(
                    "UPDATE rounds SET summary = ? WHERE generation = ? AND round = ?",
                    json.dumps(found),
                    *round_id,
                )

    def _mark_forgotten(self, round_id: RoundId) -> None:
        self._run("UPDATE rounds SET forgotten = forgotten + 1 WHERE generation = ? AND round = ?", *round_id)

    def wipe(self) -> None:
        """Write the whole file anew, so that what was removed is nowhere in it; not in a transaction.

        Raises:
            StateError: also where somebody reads it: what was removed may still be there.
        """
        try:
            wipe(self._path, self._db)
        except sqlite3.Error as error:
            raise database_error(self._path, error) from error
        with self.transaction():
            self.save_mark(UNWIPED, None)

    # ── what is published ──────────────────────────────────────────────────────────────────────────

    def save_content(self, kind: str, round_id: RoundId, blob: Blob, data: bytes) -> None:
        """Keep a task or model, and in which slot it is published."""
        # The same bytes may be said again by a later generation: then they are its newest.
        self._run("REPLACE INTO contents VALUES (?, ?, ?, ?, ?)", blob.digest, kind, *round_id, data)
        self._run(
            "REPLACE INTO slots VALUES (?, ?, ?, ?, ?)", kind, blob.slot, blob.digest, blob.frames, blob.size
        )

    def save_export(self, blob: Blob) -> None:
        """Keep which exported file is announced: the next one is not written over it."""
        self._run("DELETE FROM slots WHERE kind = 'export'")
        self._run(
            "INSERT INTO slots VALUES ('export', ?, ?, ?, ?)", blob.slot, blob.digest, blob.frames, blob.size
        )

    # ── devices ────────────────────────────────────────────────────────────────────────────────────

    def save_status(self, device: str, status: Status, now: float) -> None:
        """Keep what a device says of itself, and since when: what is only retained says nothing new."""
        declined = f"{status.declined.reason}: {status.declined.detail}" if status.declined else None
        self._run(
            "INSERT INTO devices"
            " (device, online, version, samples, holds, generation, round, declined, seen_at, can,"
            " declined_for, declined_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET seen_at = CASE"
            " WHEN (online, version, samples, holds, generation, round, declined) IS NOT"
            " (excluded.online, excluded.version, excluded.samples, excluded.holds, excluded.generation,"
            " excluded.round, excluded.declined) THEN excluded.seen_at ELSE seen_at END,"
            " online = excluded.online,"
            " version = excluded.version, samples = excluded.samples, holds = excluded.holds,"
            " generation = excluded.generation, round = excluded.round, declined = excluded.declined,"
            " can = excluded.can,"
            # Of the same reason from round to round it is one moment; between two rounds it may say nothing.
            " declined_at = CASE WHEN excluded.declined IS NULL OR declined_for IS excluded.declined_for"
            " THEN declined_at ELSE excluded.declined_at END,"
            " declined_for = coalesce(excluded.declined_for, declined_for)",
            device,
            status.online,
            status.version,
            status.samples,
            status.holds,
            status.generation,
            status.round,
            declined,
            now,
            json.dumps(status.can) if status.can is not None else None,
            status.declined.reason if status.declined else None,
            now if status.declined else None,
        )
        self._run(
            "UPDATE devices SET uses = ? WHERE device = ? AND uses IS NOT ?", status.uses, device, status.uses
        )

    def save_missed(self, device: str, missed: Missed | None) -> None:
        """Keep how a device has let rounds wait in vain; None: it answers."""
        times = missed.times if missed is not None else 0
        last = json.dumps([*missed.last.round, missed.last.number]) if missed is not None else None
        self._run(
            "INSERT INTO devices (device, missed, missed_in) VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET missed = excluded.missed, missed_in = excluded.missed_in",
            device,
            times,
            last,
        )

    def count_refusals(self, device: str, number: int, last: Reason) -> None:
        """Count what a device sent in vain since the last time."""
        self._run(
            "INSERT INTO devices (device, refused, last_refusal) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
            " refused = refused + excluded.refused, last_refusal = excluded.last_refusal",
            device,
            number,
            last,
        )

    def _run(self, statement: str, *values: object) -> None:
        self._all(statement, *values)
