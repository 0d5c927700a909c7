"""Check that an attempt keeps the quorum with which it began."""

from aggregator.ledger.layout import KEPT
from aggregator.ledger.records import OpenRound
from fleet.simulator.invariants import Invariant, Violation


class Quorums:
    """The quorums of rounds.

    Args:
        fixed: the quorum of every round; None: each attempt has the quorum with which it began.
    """

    def __init__(self, fixed: int | None) -> None:
        self._quorum = fixed

    def of(self, saved: OpenRound | None) -> int:
        """The quorum of an open round, as the ledger saved it."""
        if self._quorum is not None:
            return self._quorum
        if saved is None or (saved.quorum is None and saved.kind != KEPT):
            raise Violation(Invariant.QUORUM, f"the ledger has saved no quorum for {saved}")
        return saved.quorum or 0
