"""Run many worlds: count them, measure their speed, and report the first violations of invariants."""

import gc
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from fedge.service.termination import terminable
from fleet.simulator.faults import KINDS
from fleet.simulator.hosts import AggregatorHost, DeviceHost
from fleet.simulator.world import Outcome, World

TRACE_SHOWN = 60
MOST_VIOLATIONS = 3
"""A campaign ends early after this number."""
PORTION = 25
"""Number of worlds that a process runs at a time."""


@dataclass(frozen=True)
class Size:
    """The size of all worlds of a campaign."""

    devices: int = 5
    rounds: int = 5
    make_device: Callable[..., DeviceHost] = DeviceHost
    make_aggregator: Callable[..., AggregatorHost] = AggregatorHost

    def world(self, seed: int, prefix: int | None = None) -> World:
        """One of them; `prefix`: the number of its faults that happen."""
        makers = (self.make_device, self.make_aggregator)
        return World(seed, self.devices, self.rounds, prefix, *makers)


@dataclass
class Tally:
    """The counts of a campaign, and its violations."""

    worlds: int = 0
    events: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(KINDS, 0)))
    violations: list[Outcome] = field(default_factory=list)
    """Each with the shortest prefix of its faults that still fails."""

    @property
    def worlds_per_s(self) -> float:
        """Worlds per second of CPU time on one core; other load on the machine does not count."""
        return self.worlds / self.seconds if self.seconds else 0.0

    def add(self, other: "Tally") -> None:
        """Add the tally of another campaign."""
        self.worlds += other.worlds
        self.events += other.events
        self.seconds += other.seconds
        self.faults.update(other.faults)
        self.violations += other.violations

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "worlds": self.worlds,
            "events": self.events,
            "faults": dict(self.faults),
            "violations": [
                {
                    "seed": outcome.seed,
                    "invariant": outcome.broken,
                    "what": outcome.violation,
                    "faults": [str(fault) for fault in outcome.schedule],
                }
                for outcome in self.violations
            ],
            "worlds_per_s": round(self.worlds_per_s, 2),
        }


def run(seeds: Iterable[int], size: Size | None = None, most_violations: int = MOST_VIOLATIONS) -> Tally:
    """Run these worlds, one after the other; ends early after `most_violations`."""
    size = size or Size()
    tally = Tally()
    with quiet():
        for seed in seeds:
            began_s = time.process_time()
            outcome = size.world(seed).run()
            gc.collect(1)
            tally.seconds += time.process_time() - began_s
            tally.worlds += 1
            tally.events += outcome.events
            tally.faults.update(outcome.faults)
            if outcome.violation is not None:
                tally.violations.append(shortest(outcome, size))
                if len(tally.violations) >= most_violations:
                    break
    return tally


def run_parallel(seeds: range, size: Size, jobs: int) -> Tally:
    """Run these worlds in `jobs` processes; the tally is that of `run`, except for the seconds.

    Ends early after `MOST_VIOLATIONS`, when the portions under way are done.
    """
    portions = [seeds[start : start + PORTION] for start in range(0, len(seeds), PORTION)]
    if jobs == 1 or len(portions) == 1:
        return run(seeds, size)
    tally = Tally()
    with terminable():  # otherwise the other processes would wait forever
        pool = ProcessPoolExecutor(min(jobs, len(portions)), initializer=_leave_interrupts_to_the_parent)
        try:
            for part in pool.map(run, portions, [size] * len(portions)):
                tally.add(part)
                if len(tally.violations) >= MOST_VIOLATIONS:
                    break
        finally:
            pool.shutdown(cancel_futures=True)
    return tally


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def shortest(outcome: Outcome, size: Size) -> Outcome:
    """The same world with the fewest of its first faults that still break an invariant."""
    for prefix in range(len(outcome.schedule)):
        found = size.world(outcome.seed, prefix).run()
        if found.violation is not None:
            return found
    return outcome


def story(outcome: Outcome) -> str:
    """A violation as text: the seed, the faults before it, and the last lines of the trace."""
    faults = [f"  {fault}" for fault in outcome.schedule] or ["  none"]
    return "\n".join(
        [
            f"seed {outcome.seed}, {outcome.broken}: {outcome.violation}",
            f"the shortest prefix of its faults that still fails ({len(outcome.schedule)}):",
            *faults,
            "the end of its trace:",
            *outcome.trace[-TRACE_SHOWN:],
        ]
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Switch off the logs of the programs, which would report thousands of refusals."""
    gc.disable()  # reference counts free a world; searching for cycles takes a tenth of the time
    loggers = [logging.getLogger(name) for name in ("fedge", "agent", "aggregator")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        gc.enable()
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
