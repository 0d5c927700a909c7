"""Changes that begin generations."""

import json

from aggregator.ledger.changes.transactions import Transactions
from aggregator.ledger.records import Beginning, LedgerMeta


class GenerationChanges(Transactions):
    """Changes of the tables `life`, `beginnings` and `marks`."""

    def begin_generation(self, meta: LedgerMeta) -> None:
        """Begin a generation: earlier rounds are kept, but no longer count.

        The updates of closed rounds stay as long as `retain` keeps them, so that one can go back to them. The
        updates of the open round are removed, because they never counted.
        """
        self._run(
            "REPLACE INTO life VALUES (1, ?, ?, ?)",
            meta.ledger,
            meta.generation,
            meta.model_fingerprint,
        )
        self._run(
            "DELETE FROM answers WHERE (generation, round) NOT IN"
            " (SELECT generation, round FROM rounds WHERE closed_at IS NOT NULL)"
        )
        self._freed = True
        self._run(
            "DELETE FROM frames WHERE (device, digest) NOT IN"
            " (SELECT device, digest FROM answers WHERE verdict = 'admitted')"
        )

    def save_mark(self, name: str, value: str | None) -> None:
        """Store a mark under a name; None: remove it."""
        if value is None:
            self._run("DELETE FROM marks WHERE name = ?", name)
        else:
            self._run("REPLACE INTO marks VALUES (?, ?)", name, value)

    def save_beginning(self, generation: int, beginning: Beginning) -> None:
        """Store what a generation begins with instead of a survey."""
        self._run(
            "REPLACE INTO beginnings VALUES (?, ?, ?, ?, ?, ?, ?)",
            generation,
            *beginning.source,
            beginning.last,
            json.dumps(beginning.without),
            beginning.survey,
            json.dumps(beginning.survey_without),
        )
