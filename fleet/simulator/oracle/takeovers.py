"""Who takes up a federation does so in time, and goes on where it was."""

from fedge.wire.freshness import RoundId, round_of
from fleet.simulator.invariants import Invariant, Violation
from fleet.simulator.oracle.record import LATENESS_S, Record, opened
from fleet.simulator.sessions import Message

BURNT = 1
"""So many numbers of generations a single device may burn at each new one."""
SILENCE_S = 15.0
"""Whoever says nothing for so long is no aggregator at work."""


class Takeovers:
    """What aggregators begin with."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def watched(self, since_s: float) -> None:
        """It looked on since then, and now begins or is dead: it waits for nobody who was silent for long."""
        if self._record.now_s() > max(since_s, self._record.online_s + SILENCE_S) + LATENESS_S:
            raise Violation(
                Invariant.TAKEOVER_IN_TIME,
                f"an aggregator watches for {self._record.now_s() - since_s:.1f} s, and the last that "
                f"another one said was {self._record.now_s() - self._record.online_s:.1f} s ago",
            )

    def begins(self, retained: dict[str, Message], known: RoundId | None) -> None:
        """It takes up a round; its ledger knew this one: not if a newer one has long been announced.

        What was announced with a key that was replaced since is no evidence: it might be stolen.
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
                f"an aggregator takes up round {known}, and round {newest} is announced",
            )

    def generation_begins(self, number: int, known: RoundId | None) -> None:
        """An aggregator takes up a new generation, after the newest that its ledger knew.

        A single device that claims more moves the number by one.
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
                f"generation {number} begins, and the newest that there was is {newest}",
            )
