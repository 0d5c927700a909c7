"""Remove a device from all tables, so that none names it any more."""

import json
import sqlite3
from dataclasses import replace

from aggregator.ledger.changes.generations import GenerationChanges
from aggregator.ledger.changes.masked_names import MaskedNames
from aggregator.ledger.layout import UNWIPED
from aggregator.ledger.records import Beginning
from fedge.storage.databases import database_error, wipe
from fedge.wire.freshness import RoundId

REMOVED = "?"
"""The replacement of a removed device's id; no device can have this name."""


class Forgetting(GenerationChanges, MaskedNames):
    """Removals from all tables."""

    def forget_device(self, device: str) -> None:
        """Remove everything about a device, and mark the rounds that this makes impossible to compute again.

        Until `wipe` has ended, the ledger records that its file may still hold the data.
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
        self.rename_in_sums(device, REMOVED)
        for table in ("frames", "answers", "devices"):
            self._run(f"DELETE FROM {table} WHERE device = ?", device)  # noqa: S608 # texts of ours

    def _is_made_of(self, begun: Beginning, rounds: set[RoundId], device: str) -> bool:
        """Whether a beginning is computed from a device's contribution to some of these rounds."""
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
        """Rewrite the whole file, so that removed data are nowhere in it, and overwrite what segments hold
        besides the frames that are left; call it outside a transaction.

        Raises:
            StateError: the file cannot be written, or another process reads it; removed data may still be in
                it.
        """
        try:
            wipe(self._path, self._db)
        except sqlite3.Error as error:
            raise database_error(self._path, error) from error
        rows = self._all("SELECT segment, offset, length FROM frames WHERE segment IS NOT NULL")
        self._segments.erase(self._place(*row) for row in rows)
        with self.transaction():
            self.save_mark(UNWIPED, None)
