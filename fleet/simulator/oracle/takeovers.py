"""Check that an aggregator takes over a federation in time, and continues from the newest round."""

from fedge.wire.freshness import RoundId, round_of
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.record import LATENESS_S, Record, opened
from fleet.simulator.sessions import Message

BURNT = 1
"""The number of generations that a single device can make each new generation skip."""
SILENCE_S = 15.0
"""An aggregator that has been silent for this many seconds does not work."""


class Takeovers:
    """Checks how aggregators begin."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def watched(self, since_s: float) -> None:
        """Check an aggregator that watched since then and now begins or ends: no silent one may delay it."""
        if self._record.now_s() > max(since_s, self._record.online_s + SILENCE_S) + LATENESS_S:
            raise Violation(
                Invariant.TAKEOVER_IN_TIME,
                f"an aggregator watches for {self._record.now_s() - since_s:.1f} s, but the last message "
                f"of another one is {self._record.now_s() - self._record.online_s:.1f} s old",
            )

    def begins(self, retained: dict[str, Message], known: RoundId | None) -> None:
        """Check an aggregator that takes up the round of its ledger: no newer round may be announced.

        Manifests signed with a replaced key do not count: that key may be stolen.
        """
        said = retained.get(self._record.topics.round)
        if said is None or said.payload not in self._record.genuine:
            return
        newest = round_of(opened(said.payload))
        lain_s = self._record.now_s() - next(
            seen.at_s for seen in reversed(self._record.announced) if round_of(seen.manifest) == newest
        )
        if lain_s > LATENESS_S and (known is None or known < newest):
            raise Violation(
                Invariant.NEWEST_ROUND_TAKEN_UP,
                f"an aggregator takes up round {known}, but round {newest} is announced",
            )

    def generation_begins(self, number: int, known: RoundId | None) -> None:
        """Check the number of a generation that an aggregator begins after the newest one of its ledger.

        A single device that reports a higher number can raise it by one.
        """
        newest = max(
            [
                (known or RoundId(0, 0)).generation,
                *(seen.manifest.generation for seen in self._record.announced),
            ]
        )
        if number > newest + 1 + BURNT:
            raise Violation(
                Invariant.GENERATION_IN_REACH,
                f"generation {number} begins, but the newest one before is {newest}",
            )
