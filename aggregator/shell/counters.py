"""Counters of what the aggregator has decided since it started. No decision depends on them."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aggregator.core import effects as do
from aggregator.core import events as on
from aggregator.core.effects import Effect
from aggregator.core.events import Event
from aggregator.core.federation import Federation
from fedge.wire.freshness import RoundId, round_of
from fedge.wire.reasons import Reason

BOUNDS_S = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0, 10_000.0, 86_400.0)
"""Upper bounds of the buckets for the duration of rounds; longer rounds have one of their own."""


@dataclass
class Counters:
    """Counters of one process, beginning at zero. One thread counts, any thread may read.

    Reasons are a closed list and devices are not told apart, so that there are never many numbers. A turn
    that the ledger could not save is decided once more, and counted once more.
    """

    admitted: int = 0
    refused: Counter[Reason] = field(default_factory=Counter)
    declined: Counter[Reason] = field(default_factory=Counter)
    """Each attempt of a round that a device declines while it is open counts once, however often its status
    says so."""
    rounds: int = 0
    """Closed rounds, surveys included."""
    seconds: float = 0.0
    """The sum of their durations."""
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    """How many of these rounds took up to each of `BOUNDS_S`, and how many took longer."""
    brought: Mapping[str, float] = field(default_factory=dict)
    """The figures of the round that closed last: `accuracy`, `held_loss`, `weight_change`, …"""
    outlying: int | None = None
    """Devices that lie far from the fleet in some column of the survey; None: no survey has closed yet."""
    _decliners: dict[str, tuple[RoundId, int]] = field(default_factory=dict)
    """The last attempt counted as declined, by device. Kept here because the state may be loaded anew."""

    def step(self, before: Federation, event: Event, effects: Sequence[Effect]) -> None:
        """Count what one step of the core decided; `before` is the state that it began from."""
        for effect in effects:
            match effect:
                case do.SaveAnswer(answer=answer) if answer.verdict == "admitted":
                    self.admitted += 1
                case do.CountRefusal(reason=reason):
                    self.refused[reason] += 1
        if isinstance(event, on.StatusSeen) and (decline := event.status.declined) is not None:
            attempt = (round_of(decline), decline.attempt)
            current = (before.round, before.attempt)  # a retained status may be of an old round
            if attempt == current and attempt != self._decliners.get(event.device):
                self._decliners[event.device] = attempt
                self.declined[decline.reason] += 1

    def closed(self, summary: Mapping[str, float]) -> None:
        """Count a closed round, with its figures."""
        seconds = summary["seconds"]
        self.rounds += 1
        self.seconds += seconds
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.bring(summary)
        self.surveyed(summary)

    def bring(self, summary: Mapping[str, float]) -> None:
        """Take in a round's figures; if it only measured, the other figures of the round before stay."""
        trained = "weight_change" in summary
        self.brought = summary if trained else {**self.brought, **summary}

    def surveyed(self, summary: Mapping[str, float]) -> None:
        """Take in the findings of a survey, if the summary is of one."""
        if "outlying_devices" in summary:
            self.outlying = int(summary["outlying_devices"])


@dataclass(frozen=True)
class Snapshot:
    """The present state, read at each scrape."""

    state: Federation
    received_bytes: int
    sent_bytes: int
    """Topics and payloads, over the connection to the broker."""
