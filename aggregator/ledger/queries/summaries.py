"""Queries on the summaries of closed rounds."""

import json
from collections.abc import Iterator
from typing import Any

from aggregator.ledger.queries.access import Access
from fedge.wire.freshness import RoundId


class SummaryQueries(Access):
    """Queries on the summaries in the table `rounds`."""

    def summaries(self, generation: int) -> list[dict[str, Any]]:
        """The summaries of the closed training rounds of a generation, in order."""
        rows = self._all(
            "SELECT summary FROM rounds WHERE generation = ? AND kind = 'train' AND closed_at IS NOT NULL"
            " ORDER BY round",
            generation,
        )
        with self._sound(f"the summaries of generation {generation}"):
            return [json.loads(row[0]) for row in rows]

    def history(self, generation: int) -> list[tuple[str, dict[str, Any]]]:
        """Kind and summary of the closed rounds of a generation after its first, in order."""
        rows = self._all(
            "SELECT kind, summary FROM rounds WHERE generation = ? AND round > 0 AND closed_at IS NOT NULL"
            " ORDER BY round",
            generation,
        )
        with self._sound(f"the summaries of generation {generation}"):
            return [(kind, json.loads(summary)) for kind, summary in rows]

    def summary(self, round_id: RoundId) -> dict[str, float]:
        """The numbers in one closed round's summary."""
        row = self._one("SELECT summary FROM rounds WHERE generation = ? AND round = ?", *round_id)
        with self._sound(f"the summary of round {round_id}"):
            found = json.loads(row[0]) if row else {}
            return {name: value for name, value in found.items() if isinstance(value, int | float)}

    def clusters(self, round_id: RoundId) -> tuple[int, ...]:
        """How many devices trained each shared model in a closed round; () if there is only one."""
        row = self._one("SELECT summary FROM rounds WHERE generation = ? AND round = ?", *round_id)
        with self._sound(f"the summary of round {round_id}"):
            return tuple(json.loads(row[0]).get("clusters", ())) if row else ()

    def surveys_that_name(self, device: str) -> tuple[RoundId, ...]:
        """The closed rounds whose summary names a device because it was far from the fleet."""
        return tuple(
            round_id
            for round_id, found in self._surveys_with_outlying()
            if any(one.get("device") == device for one in found["outlying"])
        )

    def _surveys_with_outlying(self) -> Iterator[tuple[RoundId, dict[str, Any]]]:
        rows = self._all("SELECT generation, round, summary FROM rounds WHERE summary LIKE '%\"outlying\"%'")
        for generation, number, summary in rows:
            with self._sound(f"the summary of round {RoundId(generation, number)}"):
                yield RoundId(generation, number), json.loads(summary)
