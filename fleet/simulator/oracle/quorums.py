"""The quorum of an attempt is the one that it began with."""

from aggregator.ledger.layout import KEPT
from aggregator.ledger.records import OpenRound
from fleet.simulator.invariants import Invariant, Violation


class Quorums:
    """How many updates a round takes.

    Args:
        fixed: below which no round may close; None: each attempt's own, which it begins with.
    """

    def __init__(self, fixed: int | None) -> None:
        self._quorum = fixed

    def of(self, saved: OpenRound | None) -> int:
        """The updates that a round takes, as the ledger has it."""
        if self._quorum is not None:
            return self._quorum
        if saved is None or (saved.quorum is None and saved.kind != KEPT):
            raise Violation(
                Invariant.QUORUM, f"{saved} has no quorum of its own, and a crash now would forget it"
            )
        return saved.quorum or 0
