"""Programs that die at failpoints, one after the other, and are started again."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from math import inf

from aggregator.aggregation.replay import replay
from fedge.service.failpoints import VARIABLE
from fedge.wire.frames import split
from tests.system.audit import check_books, check_stores
from tests.system.federations import steady
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses, query
from tests.system.wiretap import Wiretap

ROUND_GOES_ON_S = 10.0
"""The longest that a round may take after the restart of who died in it, with what was left to do in it,
where a program starts in no time: shorter than any timer that could go on in place of what was left to do.
What the slowest start took is added to that: the machine may be busy."""

NONSENSE_EVERY_S = 0.1


@dataclass
class Walker:
    """One program and the points it is still to die at."""

    fleet: FleetOfProcesses
    name: str
    left: list[str]
    deaths: list[tuple[str, int, float]] = field(default_factory=list)
    """Where it died, the round that was open, and when it was started again (seconds since 1970)."""
    starts_s: list[float] = field(default_factory=list)
    """How long each start took, until the program said something: what Python and the machine need."""
    silent_since: tuple[float, int] | None = None
    """When it was started (seconds since 1970) and how long its log was, until it says something."""

    def start(self) -> None:
        log = self.fleet.folder / "logs" / f"{self.name}.log"
        self.silent_since = time.time(), log.stat().st_size if log.exists() else 0
        if self.left:
            os.environ[VARIABLE] = self.left[0]
        try:
            if self.name == "aggregator":
                self.fleet.start_aggregator("--exit-when-done")
            else:
                self.fleet.start_devices(self.name)
        finally:
            os.environ.pop(VARIABLE, None)

    @property
    def code(self) -> int | None:
        return self.fleet.programs[self.name].exit_code

    def go_on(self) -> None:
        """Start the program again if it has died where it was to."""
        dead = self.code == -9
        if self.silent_since is not None:
            began_at, said = self.silent_since
            if dead or (self.fleet.folder / "logs" / f"{self.name}.log").stat().st_size > said:
                self.starts_s.append(time.time() - began_at)
                self.silent_since = None
        if self.left and dead:
            point, died_at = self.left.pop(0), time.time()
            self.start()
            closed = sum(row.closed for row in self.fleet.rounds())
            self.deaths.append((point, closed, died_at))


@contextmanager
def stranger(fleet: FleetOfProcesses) -> Iterator[Callable[[], None]]:
    """Somebody whose updates are none, so that the aggregator has something to refuse."""
    numbers, due_s = count(), 0.0

    def speak() -> None:
        nonlocal due_s
        if time.monotonic() >= due_s:
            (frame,) = split(b"no update %d" % next(numbers))
            tap.say(tap.topics.update("stranger"), frame)
            due_s = time.monotonic() + NONSENSE_EVERY_S

    with Wiretap(fleet) as tap:
        yield speak


def walk(
    fleet: FleetOfProcesses,
    rounds: int,
    itineraries: dict[str, list[str]],
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Let a fleet learn while its programs die at these points, one after the other."""
    steady(fleet, rounds)
    walkers = [Walker(fleet, name, itineraries.get(name, [])) for name in ("aggregator", *fleet.devices)]
    for walker in walkers:
        walker.start()
    aggregator = walkers[0]
    deadline_s = time.monotonic() + PATIENCE_S + 15 * sum(len(walker.left) for walker in walkers)
    while aggregator.code != 0 or any(walker.left for walker in walkers[1:]):
        for walker in walkers:
            walker.go_on()
            assert walker.code in (None, 0, -9), fleet.log(walker.name)
        left = {walker.name: walker.left for walker in walkers}
        assert aggregator.code != 0 or not aggregator.left, f"learning was over before {left}"
        assert time.monotonic() < deadline_s, f"not reached: {left}"
        meanwhile()
        time.sleep(0.005)
    del fleet.programs["aggregator"]
    closed_at = dict(query(fleet.ledger, "SELECT round, closed_at FROM rounds"))
    slowest_s = ROUND_GOES_ON_S + max(start_s for walker in walkers for start_s in walker.starts_s)
    deaths = sorted((at, walker.name, point, n) for walker in walkers for point, n, at in walker.deaths)
    for (died_at, name, point, number), (again_at, *_) in pairwise([*deaths, (inf, "", "", 0)]):
        if number <= rounds:  # else learning was done
            went_on_s = (
                min(closed_at[number], again_at) - died_at
            )  # until the round closed, or the next death
            assert went_on_s < slowest_s, f"{name} died at {point} of round {number}"


def ends_the_same(fleet: FleetOfProcesses, rounds: int, model: bytes) -> None:
    found = [(row.round, row.attempt, row.closed, row.devices) for row in fleet.rounds()]
    assert found == [(number, 0, True, 3) for number in range(rounds + 1)]
    assert check_books(fleet) >= min(rounds, 20) - 1
    fleet.until(
        lambda: all(device.held_model() == model for device in fleet.devices.values()),
        "all devices hold the final model",
    )
    check_stores(fleet)
    assert fleet.final_model() == model
    replayed = [replay(fleet.ledger, number, seed=7) for number in range(rounds - 4, rounds + 1)]
    assert all(again.same and len(again.samples) == 3 for again in replayed)


def die_in_turn(fleet: FleetOfProcesses, *walkers: Walker) -> None:
    """Start again whoever dies, until nobody is left to die."""
    deadline_s = time.monotonic() + PATIENCE_S
    while any(walker.left for walker in walkers):
        for walker in walkers:
            walker.go_on()
            assert walker.code in (None, -9), fleet.log(walker.name)
        assert time.monotonic() < deadline_s, f"not reached: {[walker.left for walker in walkers]}"
        time.sleep(0.005)
