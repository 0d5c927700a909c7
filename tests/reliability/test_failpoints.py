"""Every failpoint is walked: the program dies there and is started again, and nobody can tell from the model.

One fleet is walked through many points: whoever dies is started again with the next point to die at. In the
end the model must be, bit for bit, that of a fleet that was left alone.
"""

import os
import random
import time
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from pathlib import Path

import pytest

from aggregator.replay import replay
from fedge.failpoints import VARIABLE
from fleet import broker as brokers
from tests.system.audit import check_books, check_stores
from tests.system.federations import steady
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses, query

pytestmark = pytest.mark.system

ROUND_GOES_ON_S = 10.0
"""The longest that a round may take after the restart of who died in it, with what was left to do in it."""

AGENT = {
    "PublishStatus": 1,
    "Fetch": 1,
    "StopFetching": 1,
    "StartWork": 2,
    "SaveUpdate": 2,
    "PublishUpdate": 2,
    "KeepModel": 2,
    "SaveVerdict": 2,
    "SaveSeen": 1,
}
AGGREGATOR = {
    "SpoolFrame": 5,
    "SaveAnswer": 5,
    "SaveRound": 2,
    "Commit": 12,
    "Acknowledge": 8,
    "SendReceipt": 5,
    "Average": 2,
    "PublishBlobs": 2,
    "PublishManifest": 2,
    "Export": 2,
    "PublishExport": 2,
}
"""The points, and at the how-manieth time after a start it is in the middle of a round again."""
RARER = {"SaveStatus": 2, "ClearSlots": 1, "ExportModel": 1, "Greet": 1, "PublishService": 1}
"""More of the aggregator's, for the long walk."""


def points(names: dict[str, int]) -> list[str]:
    return [f"{name}.{when}:{nth}" for name, nth in names.items() for when in ("before", "after")]


@dataclass
class Walker:
    """One program and the points it is still to die at."""

    fleet: FleetOfProcesses
    name: str
    left: list[str]
    deaths: list[tuple[str, int, float]] = field(default_factory=list)
    """Where it died, the round that was open, and when it was started again (seconds since 1970)."""

    def start(self) -> None:
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
        if self.left and self.code == -9:
            point, died_at = self.left.pop(0), time.time()
            self.start()
            closed = sum(row.closed for row in self.fleet.rounds())
            self.deaths.append((point, closed, died_at))


def walk(fleet: FleetOfProcesses, rounds: int, itineraries: dict[str, list[str]]) -> None:
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
        time.sleep(0.005)
    del fleet.programs["aggregator"]
    closed_at = dict(query(fleet.ledger, "SELECT round, closed_at FROM rounds"))
    deaths = sorted((at, walker.name, point, n) for walker in walkers for point, n, at in walker.deaths)
    for (died_at, name, point, number), (again_at, *_) in pairwise([*deaths, (inf, "", "", 0)]):
        if number <= rounds:  # else learning was done
            went_on_s = (
                min(closed_at[number], again_at) - died_at
            )  # until the round closed, or the next death
            assert went_on_s < ROUND_GOES_ON_S, f"{name} died at {point} of round {number}"


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


ROUNDS = 36
"""More than there are points for one program: each death takes one round at most."""


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The final model of the same fleet without any death."""
    folder = tmp_path_factory.mktemp("left-alone")
    with brokers.start("auto", folder / "broker") as broker, FleetOfProcesses(folder, broker) as fleet:
        walk(fleet, ROUNDS, {})
        return fleet.final_model()


@pytest.mark.chaos
def test_fault_25_26_the_agents_die_at_every_failpoint(fleet: FleetOfProcesses, left_alone: bytes) -> None:
    all_of_them = points(AGENT)
    walk(fleet, ROUNDS, {f"device-{number}": all_of_them[number::3] for number in range(3)})
    ends_the_same(fleet, ROUNDS, left_alone)


@pytest.mark.chaos
def test_fault_43_44_the_aggregator_dies_at_every_failpoint(
    fleet: FleetOfProcesses, left_alone: bytes
) -> None:
    walk(fleet, ROUNDS, {"aggregator": points(AGGREGATOR)})
    ends_the_same(fleet, ROUNDS, left_alone)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_everybody_dies_at_every_failpoint(tmp_path: Path, seed: int, left_alone: bytes) -> None:
    """In any order, at any time of a round, and more than one program at once."""
    chance = random.Random(seed)

    def shuffled(names: dict[str, int]) -> list[str]:
        return chance.sample(
            points({name: chance.randint(1, nth) for name, nth in names.items()}), 2 * len(names)
        )

    agents = sorted(shuffled(AGENT), key=lambda point: point.startswith("SaveSeen"))  # only when all is done
    itineraries = {f"device-{number}": agents[number::3] for number in range(3)}
    itineraries["aggregator"] = shuffled(AGGREGATOR | RARER)
    with brokers.start("auto", tmp_path / "broker") as broker, FleetOfProcesses(tmp_path, broker) as fleet:
        walk(fleet, ROUNDS, itineraries)
        ends_the_same(fleet, ROUNDS, left_alone)
