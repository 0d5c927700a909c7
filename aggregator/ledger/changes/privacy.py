"""Changes that pay for releases under differential privacy."""

from aggregator.ledger.changes.transactions import Transactions
from fedge.privacy.charges import Charge
from fedge.wire.freshness import RoundId


class PrivacyChanges(Transactions):
    """Changes of the tables `charges` and `noise`."""

    def save_charge(self, number: int, charge: Charge) -> None:
        """Store a charge under its number, counted from 1."""
        at = charge.position
        self._run(
            "INSERT INTO charges VALUES (?, ?, ?, ?, ?, ?)",
            number,
            at.generation,
            at.round,
            at.attempt,
            charge.inputs,
            charge.digest,
        )

    def save_noise(self, round_id: RoundId, seed: bytes) -> None:
        """Store the secret seed of a round's noise, with which the round can be computed again."""
        self._run("INSERT INTO noise VALUES (?, ?, ?)", *round_id, seed)
