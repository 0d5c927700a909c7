"""Every failpoint is walked: the program dies there and is started again, and nobody can tell from the model.

One fleet is walked through many points: whoever dies is started again with the next point to die at. In the
end the model must be, bit for bit, that of a fleet that was left alone.
"""

import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from math import inf
from pathlib import Path
from typing import get_args

import pytest

from agent.core import effects as agent_effects
from aggregator.aggregation.replay import replay
from aggregator.core import effects as aggregator_effects
from fedge.service.failpoints import VARIABLE
from fedge.wire.frames import split
from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.system.audit import check_books, check_stores
from tests.system.databases import query
from tests.system.federations import steady
from tests.system.fleet_of_processes import PATIENCE_S, FleetOfProcesses
from tests.system.signing import Keys, change_key
from tests.system.wiretap import Wiretap

pytestmark = pytest.mark.system

ROUND_GOES_ON_S = 10.0
"""The longest that a round may take after the restart of who died in it, with what was left to do in it,
where a program starts in no time: shorter than any timer that could go on in place of what was left to do.
What the slowest start took is added to that: the machine may be busy."""

NONSENSE_EVERY_S = 0.1

AGENT = {
    "Subscribe": 1,
    "PublishStatus": 1,
    "Fetch": 1,
    "StopFetching": 1,
    "StartWork": 2,
    "SaveUpdate": 2,
    "PublishUpdate": 2,
    "KeepModel": 2,
    "JudgeModel": 2,
    "UseModel": 2,
    "SaveVerdict": 2,
    "Log": 2,
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
    "CloseRound": 2,
    "ReadUpdate": 5,
}
"""The points, and at the how-manieth time after a start it is in the middle of a round again."""
RARER = {
    "SaveStatus": 2,
    "ClearSlots": 1,
    "ExportModel": 1,
    "Subscribe": 1,
    "PublishService": 1,
    "DropSpool": 1,
    "CountRefusal": 1,
    "Log": 1,
}
"""The aggregator's at its start, and where it refuses something."""
LAST = {"Complete": 1}
"""The aggregator's when learning is done."""
WAITING = {"SaveElapsed": 1}
"""The aggregator's in a round that lasts."""
KEY_CHANGE = {"SaveSigners", "CancelWork"}
"""An agent's when another key signs, while it is at work for the one before."""
NOT_WALKED = {
    # It only closes the connection; it needs another history, and an algorithm that remembers something.
    "agent": {"Disconnect", "ResetState"},
    # It ends the program by itself; it needs a liar (tests/system/test_setting_aside.py), an operator
    # (tests/system/test_quarantine.py), or who lets deadlines pass (tests/system/test_deadlines.py).
    "aggregator": {"Abort", "SetAside", "DropAnswer", "SaveMissed"},
}
"""docs/reliability.md, "Not covered", says what tests them instead."""


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


ROUNDS = 50
"""More than there are points for one program: each death takes one round at most."""


@pytest.fixture(scope="module")
def left_alone(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The final model of the same fleet without any death."""
    folder = tmp_path_factory.mktemp("left-alone")
    with brokers.start("auto", folder / "broker") as broker, FleetOfProcesses(folder, broker) as fleet:
        walk(fleet, ROUNDS, {})
        return fleet.final_model()


@pytest.mark.chaos
def test_fault_25_26_the_agents_die_at_every_failpoint(
    fleet: FleetOfProcesses, left_alone: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDGE_AGENT_PREDICT__TOLERANCE", "1")  # each model is judged, and used
    all_of_them = points(AGENT)
    walk(fleet, ROUNDS, {f"device-{number}": all_of_them[number::3] for number in range(3)})
    ends_the_same(fleet, ROUNDS, left_alone)


@pytest.mark.chaos
def test_fault_43_44_the_aggregator_dies_at_every_failpoint(
    fleet: FleetOfProcesses, left_alone: bytes
) -> None:
    walk(fleet, ROUNDS, {"aggregator": points(AGGREGATOR)})
    ends_the_same(fleet, ROUNDS, left_alone)


@pytest.mark.chaos
def test_the_aggregator_dies_at_its_start_where_it_refuses_and_at_the_end(
    fleet: FleetOfProcesses, left_alone: bytes
) -> None:
    with stranger(fleet) as speak:
        walk(fleet, ROUNDS, {"aggregator": [*points(RARER), *points(LAST)]}, speak)
    ends_the_same(fleet, ROUNDS, left_alone)


def die_in_turn(fleet: FleetOfProcesses, *walkers: Walker) -> None:
    """Start again whoever dies, until nobody is left to die."""
    deadline_s = time.monotonic() + PATIENCE_S
    while any(walker.left for walker in walkers):
        for walker in walkers:
            walker.go_on()
            assert walker.code in (None, -9), fleet.log(walker.name)
        assert time.monotonic() < deadline_s, f"not reached: {[walker.left for walker in walkers]}"
        time.sleep(0.005)


FEW = 4
"""The rounds of `undisturbed_model`."""
FIRST_TRAINING = 2
"""Which reading of a device's data is that of round 1."""


@pytest.mark.chaos
def test_the_aggregator_dies_when_it_keeps_how_long_a_round_has_lasted(
    fleet: FleetOfProcesses, undisturbed_model: bytes
) -> None:
    """And a device that is at work for longer than its keep-alive stays connected (fault 23)."""
    fleet.access = {"keepalive_s": 8}
    steady(fleet, FEW)
    slow = fleet.devices["device-0"]
    slow.hold(FIRST_TRAINING)
    aggregator = Walker(fleet, "aggregator", points(WAITING))
    aggregator.start()
    fleet.start_devices()
    die_in_turn(fleet, aggregator)
    slow.release()
    assert fleet.ends() == 0
    assert fleet.connections(slow.name) == 1
    ends_the_same(fleet, FEW, undisturbed_model)


@pytest.mark.chaos
def test_agents_die_when_they_follow_another_signing_key(
    broker: Broker, tmp_path: Path, undisturbed_model: bytes
) -> None:
    with FleetOfProcesses(tmp_path / "fleet", broker, Keys.made(tmp_path, "signed")) as fleet:
        steady(fleet, FEW)
        for device in fleet.devices.values():
            device.hold(FIRST_TRAINING)
        fleet.start_aggregator()
        itineraries = [
            ["SaveSigners.before", "SaveSigners.after"],
            ["CancelWork.before"],
            ["CancelWork.after"],
        ]
        walkers = [Walker(fleet, name, left) for name, left in zip(fleet.devices, itineraries, strict=True)]
        for walker in walkers:
            walker.start()
        fleet.until(
            lambda: all(device.reads == FIRST_TRAINING for device in fleet.devices.values()), "all work"
        )
        fleet.terminate("aggregator")
        change_key(fleet)
        fleet.start_aggregator("--exit-when-done")
        die_in_turn(fleet, *walkers)
        for device in fleet.devices.values():
            device.release()
        assert fleet.ends() == 0
        ends_the_same(fleet, FEW, undisturbed_model)


def test_no_failpoint_is_forgotten() -> None:
    """What an effect or a moment adds is walked, or it is said why not."""
    armable = {
        "agent": [effect.__name__ for effect in get_args(agent_effects.Effect)],
        "aggregator": [
            *(effect.__name__ for effect in get_args(aggregator_effects.Effect)),
            *aggregator_effects.MOMENTS,
        ],
    }
    accounted = {
        "agent": [*AGENT, *KEY_CHANGE, *NOT_WALKED["agent"]],
        "aggregator": [*AGGREGATOR, *RARER, *LAST, *WAITING, *NOT_WALKED["aggregator"]],
    }
    for program, names in armable.items():
        assert sorted(accounted[program]) == sorted(names)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_everybody_dies_at_every_failpoint(
    tmp_path: Path, seed: int, left_alone: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any order, at any time of a round, and more than one program at once."""
    monkeypatch.setenv("FEDGE_AGENT_PREDICT__TOLERANCE", "1")
    chance = random.Random(seed)

    def shuffled(names: dict[str, int]) -> list[str]:
        return chance.sample(
            points({name: chance.randint(1, nth) for name, nth in names.items()}), 2 * len(names)
        )

    agents = sorted(shuffled(AGENT), key=lambda point: point.startswith("SaveSeen"))  # only when all is done
    itineraries = {f"device-{number}": agents[number::3] for number in range(3)}
    itineraries["aggregator"] = [*shuffled(AGGREGATOR | RARER), *points(LAST)]
    with brokers.start("auto", tmp_path / "broker") as broker, FleetOfProcesses(tmp_path, broker) as fleet:
        with stranger(fleet) as speak:
            walk(fleet, ROUNDS, itineraries, speak)
        ends_the_same(fleet, ROUNDS, left_alone)
