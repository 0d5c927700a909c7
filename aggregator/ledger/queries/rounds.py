"""Queries on rounds: which exist, and how they were announced and closed."""

import json

from aggregator.ledger.layout import (
    HAS_CODINGS,
    KEPT,
    MEASURES,
    NAMES_PARTS,
    NAMES_RULES,
    NAMES_TASKS,
    RULES_BEFORE,
    TELLS_DECLINES,
)
from aggregator.ledger.queries.generations import GenerationQueries
from aggregator.ledger.records import OpenRound, SavedCoding
from fedge.wire.freshness import RoundId
from fedge.wire.messages.manifest import Cohort


class RoundQueries(GenerationQueries):
    """Queries on the table `rounds`."""

    def last_closed(self, generation: int) -> RoundId | None:
        """The newest closed round of a generation."""
        row = self._one(
            "SELECT max(round) FROM rounds WHERE generation = ? AND closed_at IS NOT NULL", generation
        )
        return RoundId(generation, row[0]) if row and row[0] is not None else None

    def newest_round(self) -> RoundId | None:
        """The open round or, if learning is done, the one that would be next; None in a new ledger."""
        meta = self.meta()
        if meta is None:
            return None
        last = self.last_closed(meta.generation)
        return RoundId(meta.generation, 0) if last is None else last._replace(round=last.round + 1)

    def has_closed(self) -> bool:
        """Whether a round of any generation was closed."""
        return self._one("SELECT 1 FROM rounds WHERE closed_at IS NOT NULL LIMIT 1") is not None

    def round_as_saved(self, round_id: RoundId) -> OpenRound | None:
        """A round as it is stored, open or closed; None: there is no such round."""
        row = self._one(
            "SELECT kind, attempt, cohorts, elapsed_s,"  # noqa: S608 # texts of ours
            f" {'quorum' if self._layout() >= TELLS_DECLINES else 'NULL'},"
            f" {'parts' if self._layout() >= NAMES_PARTS else 'NULL'} FROM rounds"
            " WHERE generation = ? AND round = ?",
            *round_id,
        )
        if row is None:
            return None
        with self._sound(f"the cohorts of round {round_id}"):
            cohorts = tuple(Cohort.model_validate(cohort) for cohort in json.loads(row[2]))
        return OpenRound(round_id, row[0], row[1], cohorts, row[3], row[4], row[5])

    def only_measured(self, round_id: RoundId) -> bool:
        """Whether a round only measures: its updates have no vectors, and its model is that of the round
        before."""
        row = self._one("SELECT kind FROM rounds WHERE generation = ? AND round = ?", *round_id)
        return row is not None and row[0] == MEASURES

    def last_trained(self, generation: int) -> RoundId | None:
        """The newest closed round that made a model."""
        row = self._one(
            "SELECT max(round) FROM rounds WHERE generation = ? AND closed_at IS NOT NULL AND kind != ?",
            generation,
            MEASURES,
        )
        return RoundId(generation, row[0]) if row and row[0] is not None else None

    def trained_up_to(self, round_id: RoundId) -> RoundId | None:
        """The newest closed round before this one, in its generation, that made a model."""
        row = self._one(
            "SELECT max(round) FROM rounds WHERE generation = ? AND round < ? AND closed_at IS NOT NULL"
            " AND kind != ?",
            *round_id,
            MEASURES,
        )
        return round_id._replace(round=row[0]) if row and row[0] is not None else None

    def parts(self, round_id: RoundId) -> str | None:
        """The parts of its algorithm, as `aggregator.core.parts` reads them; None: of an older program."""
        if self._layout() < NAMES_PARTS:
            return None
        row = self._one("SELECT parts FROM rounds WHERE generation = ? AND round = ?", *round_id)
        return row[0] if row else None

    def state_of(self, round_id: RoundId) -> tuple[bytes, bytes] | None:
        """The state of the server optimizer after a round, and its digest; None: none is stored."""
        if self._layout() < NAMES_PARTS:
            return None
        row = self._one("SELECT data, digest FROM states WHERE generation = ? AND round = ?", *round_id)
        return (bytes(row[0]), bytes(row[1])) if row else None

    def coding_of(self, round_id: RoundId) -> SavedCoding | None:
        """The coding of a closed round's model; None: it was sent as it is."""
        if self._layout() < HAS_CODINGS:
            return None
        row = self._one(
            "SELECT codec, coded, key, errors, digest FROM codings WHERE generation = ? AND round = ?",
            *round_id,
        )
        if row is None:
            return None
        codec, coded, key, errors, digest = row
        return SavedCoding(
            str(codec), bytes(coded), None if key is None else bytes(key), bytes(errors), bytes(digest)
        )

    def trained_before(self, generation: int) -> RoundId | None:
        """The newest round of an earlier generation that made a model other than first weights."""
        rows = self._all(
            "SELECT DISTINCT generation FROM rounds WHERE generation < ? ORDER BY generation DESC", generation
        )
        for (earlier,) in rows:
            last = self.last_trained(earlier)
            if last is not None and (last.round > 0 or not self.surveyed(earlier)):
                return last
        return None

    def kept_rounds(self, generation: int) -> dict[int, tuple[str, bytes]]:
        """Kind and digest of the model, by number, of the closed rounds that can still be computed again."""
        rows = self._all(
            "SELECT r.round, r.kind, r.model FROM rounds r JOIN contents c ON c.digest = r.model"
            " AND (c.generation, c.round) = (r.generation, r.round)"
            " WHERE r.generation = ? AND r.kind != ? AND EXISTS (SELECT 1 FROM answers a"
            " WHERE (a.generation, a.round) = (r.generation, r.round)) ORDER BY r.round",
            generation,
            KEPT,
        )
        return {number: (kind, model) for number, kind, model in rows}

    def task_after(self, round_id: RoundId) -> bytes | None:
        """The digest of the task that a closed round's model belongs to; None if that is not known."""
        row = self._one("SELECT task FROM rounds WHERE generation = ? AND round = ?", *round_id)
        return bytes(row[0]) if row is not None and row[0] is not None else None

    def forgotten(self, round_id: RoundId) -> int:
        """The number of devices whose contribution to a closed round was removed by request."""
        if self._layout() < NAMES_TASKS:
            return 0
        row = self._one("SELECT forgotten FROM rounds WHERE generation = ? AND round = ?", *round_id)
        return int(row[0]) if row else 0

    def rule(self, round_id: RoundId) -> str | None:
        """Name and version of the rule that closed a round; None while it is open, or if its model was
        kept."""
        if self._layout() < NAMES_RULES:
            row = self._one(
                "SELECT kind FROM rounds WHERE generation = ? AND round = ? AND closed_at IS NOT NULL",
                *round_id,
            )
            return RULES_BEFORE.get(row[0]) if row else None
        row = self._one("SELECT rule FROM rounds WHERE generation = ? AND round = ?", *round_id)
        return row[0] if row else None
