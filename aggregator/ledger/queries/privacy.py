"""Queries on what has been released under differential privacy, and with which noise."""

import json

from aggregator.ledger.layout import DECLARED, HAS_CHARGES
from aggregator.ledger.queries.generations import GenerationQueries
from fedge.wire.freshness import RoundId


class PrivacyQueries(GenerationQueries):
    """Queries on the tables `charges` and `noise`."""

    def privacy_history(self) -> str | None:
        """All charges, as `fedge.privacy.budget.read` reads them; None: no history was begun."""
        declared = self.mark(DECLARED)
        if self._layout() < HAS_CHARGES or declared is None:
            return None
        rows = self._all("SELECT generation, round, attempt, inputs, digest FROM charges ORDER BY number")
        charges = [
            {
                "position": {"generation": generation, "round": number, "attempt": attempt},
                "inputs": inputs,
                "digest": digest,
            }
            for generation, number, attempt, inputs, digest in rows
        ]
        return json.dumps({"declared": declared, "charges": charges})

    def charges(self, until: RoundId | None = None) -> int:
        """The number of charges; `until`: of those up to this round."""
        if self._layout() < HAS_CHARGES:
            return 0
        if until is None:
            row = self._one("SELECT count(*) FROM charges")
        else:
            row = self._one("SELECT count(*) FROM charges WHERE (generation, round) <= (?, ?)", *until)
        return int(row[0]) if row else 0

    def charged_inputs(self, round_id: RoundId) -> str | None:
        """The digest of what a closed round was made from; None: it was not charged."""
        if self._layout() < HAS_CHARGES:
            return None
        row = self._one(
            "SELECT inputs FROM charges WHERE generation = ? AND round = ? ORDER BY number DESC", *round_id
        )
        return str(row[0]) if row else None

    def noise_of(self, round_id: RoundId) -> bytes | None:
        """The secret seed of a closed round's noise; None: it had none, or it is no longer kept."""
        if self._layout() < HAS_CHARGES:
            return None
        row = self._one("SELECT seed FROM noise WHERE generation = ? AND round = ?", *round_id)
        return bytes(row[0]) if row else None

    def rules_of(self, generation: int) -> tuple[str, ...]:
        """The rules that closed a generation's rounds, each once."""
        rows = self._all(
            "SELECT DISTINCT rule FROM rounds WHERE generation = ? AND rule IS NOT NULL", generation
        )
        return tuple(str(rule) for (rule,) in rows)
