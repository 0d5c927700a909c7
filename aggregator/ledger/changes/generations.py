"""Generations begin."""

import json

from aggregator.ledger.changes.transactions import Transactions
from aggregator.ledger.records import Beginning, Life


class GenerationChanges(Transactions):
    """Of the tables `life`, `beginnings` and `marks`."""

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
