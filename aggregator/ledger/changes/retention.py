"""Free the data of old rounds."""

from aggregator.ledger.changes.transactions import Transactions
from fedge.wire.freshness import RoundId

FEWEST = 2
"""The closed rounds that always stay: the newest and the one before."""


class Retention(Transactions):
    """Removals of rounds that are no longer kept: frames, models and answers."""

    def retain(
        self, newest: RoundId, rounds: int, size: int, best: RoundId | None = None, behind: int = 0
    ) -> None:
        """Free the data of old rounds: keep `rounds` closed ones, or fewer if they exceed `size` bytes.

        Rounds are counted over all generations, so that a new generation can be undone. These always stay:
        the newest round and the one before, the survey of the newest one's frozen layers, and the model of
        `best`. The file keeps its length, and freed space in it is used again.

        If the base of an update may be that of one of `behind` rounds before, so many closed rounds more
        stay, so that no update counts twice; and as many models before the oldest of them, so that each of
        them can be computed again.
        """
        closed = [
            RoundId(*row)
            for row in self._all(
                "SELECT generation, round FROM rounds WHERE closed_at IS NOT NULL"
                " ORDER BY generation DESC, round DESC LIMIT ?",
                max(rounds, FEWEST + behind),
            )
        ]
        self._segments.roll()
        survey = self.survey_of(newest.generation)
        while closed:
            self.forget_rounds_before(closed.pop(), survey, best, behind)
            if len(closed) < FEWEST + behind or self.bytes_held() <= size:
                return

    def forget_rounds_before(
        self, round_id: RoundId, survey: int | None = None, best: RoundId | None = None, behind: int = 0
    ) -> None:
        """Free the data of older rounds, except the survey of this generation; their figures stay.

        The model of the last of them stays too, because this round's updates began from it; those of `behind`
        more, and of all from which updates of kept rounds began; that of `best`; and the key frames of the
        rounds that stay.
        """
        older = (
            "(generation < ?1 OR (generation = ?1 AND round < ?2)) AND NOT (generation = ?3 AND round = 0)"
        )
        values = (*round_id, 0 if survey is None else survey)
        self._run(
            "DELETE FROM frames WHERE rowid IN (SELECT frames.rowid FROM answers"  # noqa: S608 # texts of ours
            f" JOIN frames USING (device, prefix, digest) WHERE {older})",
            *values,
        )
        self._run(  # as with states below
            f"DELETE FROM codings WHERE {older} AND (generation, round) != (?1, coalesce("  # noqa: S608 # texts of ours
            "(SELECT max(round) FROM codings WHERE generation = ?1 AND round < ?2), -1))",
            *values,
        )
        self._run(
            # By digest, because a round that only measured has closed with the model of the round before.
            f"DELETE FROM contents WHERE kind = 'model' AND {older} AND digest NOT IN"  # noqa: S608 # texts of ours
            " (SELECT model FROM rounds WHERE model IS NOT NULL"
            " AND ((generation = ?1 AND round < ?2 AND round >= min(?2 - ?6, (SELECT coalesce(min(began), ?2)"
            " FROM answers WHERE generation = ?1 AND round >= ?2)) - 1)"
            " OR (generation, round) = (?4, ?5)))"
            " AND digest NOT IN (SELECT key FROM codings WHERE key IS NOT NULL)",
            *values,
            *(best or (0, 0)),
            behind,
        )
        self._run(  # as with the models, the last one stays, because the next round began with it
            f"DELETE FROM states WHERE {older} AND (generation, round) != (?1, coalesce("  # noqa: S608 # texts of ours
            "(SELECT max(round) FROM states WHERE generation = ?1 AND round < ?2), -1))",
            *values,
        )
        self._run(f"DELETE FROM masked_sums WHERE {older}", *values)  # noqa: S608 # texts of ours
        self._run(f"DELETE FROM masked_groups WHERE {older}", *values)  # noqa: S608 # texts of ours
        # Without its updates a round cannot be computed again, and whoever has a seed takes its noise away.
        self._run(f"DELETE FROM noise WHERE {older}", *values)  # noqa: S608 # texts of ours
        self._freed = True
        self._run(f"DELETE FROM answers WHERE {older}", *values)  # noqa: S608 # texts of ours
