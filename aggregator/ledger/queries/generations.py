"""Queries on generations: what is learnt in them, and what they began with."""

import json

from aggregator.ledger.layout import HAS_MARKS, KEPT, NAMES_TASKS
from aggregator.ledger.queries.access import Access
from aggregator.ledger.records import Beginning, LedgerMeta
from fedge.wire.freshness import RoundId


class GenerationQueries(Access):
    """Queries on the tables `life`, `beginnings` and `marks`."""

    def meta(self) -> LedgerMeta | None:
        """The ledger's id and generation; None in a new ledger."""
        row = self._one("SELECT ledger, generation, learnt FROM life")
        return LedgerMeta(*row) if row else None

    def beginning(self, generation: int) -> Beginning | None:
        """What a generation began with; None: a survey, or a program before layout 7 began it."""
        if self._layout() < NAMES_TASKS:
            return None
        row = self._one(
            "SELECT from_generation, from_round, last_round, without, survey, survey_without FROM beginnings"
            " WHERE generation = ?",
            generation,
        )
        if row is None:
            return None
        with self._sound(f"the beginning of generation {generation}"):
            without, survey_without = tuple(json.loads(row[3])), tuple(json.loads(row[5]))
        return Beginning(RoundId(row[0], row[1]), row[2], without, row[4], survey_without)

    def survey_of(self, generation: int) -> int | None:
        """The generation whose survey made a generation's frozen layers; None if unknown."""
        if (begun := self.beginning(generation)) is not None:
            return begun.survey
        row = self._one("SELECT kind FROM rounds WHERE generation = ? AND round = 0", generation)
        return None if row is None or row[0] == KEPT else generation

    def surveyed(self, generation: int) -> bool:
        """Whether a generation began with a survey, so that the model of its round 0 was never trained."""
        row = self._one("SELECT kind FROM rounds WHERE generation = ? AND round = 0", generation)
        return row is not None and row[0] != KEPT

    def generations_begun(self) -> list[int]:
        """The generations that began with an earlier model, in order."""
        return [g for (g,) in self._all("SELECT generation FROM beginnings ORDER BY generation")]

    def beginnings_without(self, device: str) -> tuple[int, ...]:
        """The generations that began without a device's contribution, and name it."""
        return tuple(
            generation
            for generation in self.generations_begun()
            if (begun := self.beginning(generation)) is not None
            and device in (*begun.without, *begun.survey_without)
        )

    def mark(self, name: str) -> str | None:
        """The mark under a name; None: there is none."""
        if self._layout() < HAS_MARKS:
            return None
        row = self._one("SELECT value FROM marks WHERE name = ?", name)
        return str(row[0]) if row else None
