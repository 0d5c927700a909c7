"""Every failpoint is walked: the program dies there and is started again, and nobody can tell from the model.

One fleet is walked through many points: whoever dies is started again with the next point to die at. In the
end the model must be, bit for bit, that of a fleet that was left alone.
"""

import random
from pathlib import Path
from typing import get_args

import pytest

from agent.core import effects as agent_effects
from aggregator.core import effects as aggregator_effects
from fleet.demo import broker as brokers
from fleet.demo.broker import Broker
from tests.reliability.itineraries import (
    AGENT,
    AGGREGATOR,
    KEY_CHANGE,
    LAST,
    MASKED,
    NOT_WALKED,
    RARER,
    WAITING,
    points,
)
from tests.reliability.walkers import Walker, die_in_turn, ends_the_same, stranger, walk
from tests.system.federations import steady
from tests.system.fleet_of_processes import FleetOfProcesses
from tests.system.signing import Keys, change_key

pytestmark = pytest.mark.system


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
        "agent": [
            *(effect.__name__ for effect in get_args(agent_effects.Effect)),
            *agent_effects.MOMENTS,
        ],
        "aggregator": [
            *(effect.__name__ for effect in get_args(aggregator_effects.Effect)),
            *aggregator_effects.MOMENTS,
        ],
    }
    accounted = {
        "agent": [*AGENT, *KEY_CHANGE, *MASKED["agent"], *NOT_WALKED["agent"]],
        "aggregator": [
            *AGGREGATOR,
            *RARER,
            *LAST,
            *WAITING,
            *MASKED["aggregator"],
            *NOT_WALKED["aggregator"],
        ],
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
