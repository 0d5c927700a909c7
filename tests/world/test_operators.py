"""Generations, lost and restored state, several aggregators: each by itself where all else is well."""

import pytest

from fleet.simulator.compositions import FEDAVG
from fleet.simulator.faults import Fault
from fleet.simulator.hosts.aggregator import LEARNT
from fleet.simulator.terms import REAL_ONE_IN, SIGNED_ONE_IN
from fleet.simulator.world import Outcome, World
from tests import milestones

pytestmark = pytest.mark.slow

REAL, SIGNED = REAL_ONE_IN - 1, SIGNED_ONE_IN - 1


def _lived(seed: int, *faults: Fault) -> tuple[World, Outcome, str]:
    world = World(seed, 4, 4, learns=FEDAVG)
    world.schedule = faults
    outcome = world.run()
    assert outcome.violation is None, outcome.violation
    return world, outcome, "\n".join(outcome.trace)


def _generation(world: World) -> int:
    return max(world.machines.operator.book.closed).generation


@pytest.mark.parametrize("seed", [0, REAL, SIGNED])
@pytest.mark.parametrize("keep_model", [False, True])
def test_a_new_generation_is_followed_to_its_end(seed: int, *, keep_model: bool) -> None:
    world, _, trace = _lived(seed, Fault(40.0, "new generation", -1, 0.3, 1 if keep_model else 0))
    assert _generation(world) == 2
    assert "with --new-generation" in trace
    closed = world.machines.operator.book.closed
    numbers = {number for generation, number in closed if generation == 2}
    assert numbers == set(range(6)), "four rounds of training, and one that measures the last model"


@pytest.mark.parametrize("seed", [0, REAL, SIGNED])
def test_a_fleet_goes_back_to_a_model_of_before_without_a_device_that_is_set_aside(seed: int) -> None:
    left_out = 0
    for far in (3, 7, 11):
        world, _, trace = _lived(seed, Fault(100.0, "new generation", 1, 30.0, far))
        assert "sets d1 aside" in trace
        assert "with --new-generation and an earlier model" in trace
        (wish,) = world.machines.operator.book.wishes.values()
        assert wish is not None
        assert wish.round is not None
        left_out += len(wish.without)
        assert _generation(world) == 2
    assert left_out > 0, "in none of these are rounds computed again"


@pytest.mark.parametrize("seed", [2, REAL, SIGNED])
def test_a_wiped_ledger_is_noticed_and_begun_anew(seed: int) -> None:
    world, _, trace = _lived(seed, Fault(60.0, "ledger wiped", -1, 0.3, 0))
    assert "and this ledger is new" in trace
    assert _generation(world) == 2


def test_an_older_copy_is_noticed_and_the_newest_restored_or_a_generation_begun() -> None:
    ways = set()
    for seed in (*range(6), SIGNED):
        world, _, trace = _lived(seed, Fault(20.0, "ledger restored", -1, 60.0, 0))
        if "older than what the fleet has seen" in trace:
            ways.add(_generation(world))
    assert ways == {1, 2}


@pytest.mark.parametrize("seed", [4, REAL, SIGNED])
@pytest.mark.parametrize("kind", ["device wiped", "device restored"])
def test_a_device_with_another_state_takes_part_again(seed: int, kind: str) -> None:
    world, _, trace = _lived(seed, Fault(25.0, kind, 1, 10.0, 0))
    assert "gives d1 another state" in trace
    assert _generation(world) == 1


@pytest.mark.parametrize("seed", [6, REAL])
def test_an_aggregator_that_moves_goes_on_where_it_was(seed: int) -> None:
    world, _, trace = _lived(seed, Fault(30.0, "aggregator moved", -1, 2.0, 0))
    assert f"aggregator 2: ends: {LEARNT}" in trace
    assert _generation(world) == 1


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_of_two_aggregators_one_gives_way(kind: int) -> None:
    """With its own ledger, with a copy, and with a copy while the first one is cut off."""
    gave_way, served = 0, 0
    for seed in range(2):
        _, _, trace = _lived(seed, Fault(20.0, "second aggregator", -1, 240.0, kind))
        gave_way += milestones.GIVES_WAY in trace
        served += "aggregator 2: says" in trace
    assert gave_way
    assert kind < 2 or served


def test_an_operator_is_obeyed_though_the_generation_before_was_never_served() -> None:
    """Else the aggregator asks, and is told, for ever: found in this world."""
    assert World(46, 5, 5, learns=FEDAVG).run().violation is None


def test_whoever_looks_on_over_a_slow_line_may_take_the_time_that_this_takes() -> None:
    assert World(10_909, 5, 5, learns=FEDAVG).run().violation is None


@pytest.mark.parametrize("seed", [654, 6_183])
def test_a_generation_that_keeps_the_model_writes_over_nothing_that_is_announced(seed: int) -> None:
    """The newest model may be saved and not announced yet: then the other slot is the announced one's."""
    assert World(seed, 5, 5, learns=FEDAVG).run().violation is None


@pytest.mark.parametrize("seed", [927, 6439, 6641])
def test_several_histories_of_a_round_end_in_one(seed: int) -> None:
    """An older copy refused its update, another history counted it, or ended with another model."""
    assert World(seed, 5, 5, learns=FEDAVG).run().violation is None


@pytest.mark.parametrize("seed", [12_917, 13_314])
def test_a_late_will_from_before_a_device_was_wiped_is_not_its_last_word(seed: int) -> None:
    """It comes after the last round, when the device has nothing else to say."""
    assert World(seed, 5, 5, learns=FEDAVG).run().violation is None


def test_what_was_said_to_another_aggregator_spends_nobodys_answer() -> None:
    """Who was chosen there was not yet chosen here, and was refused for ever: found in this world."""
    assert World(8_762, 5, 5, learns=FEDAVG).run().violation is None


def test_a_round_that_a_device_only_heard_of_is_forgotten_when_it_loses_its_power() -> None:
    """It answers an older one, of another aggregator, that is announced then: found in this world."""
    assert World(30_085, 5, 5, learns=FEDAVG).run().violation is None


def test_the_power_may_fail_in_a_programs_last_words() -> None:
    """The aggregator gives up, and dies as it says that it is offline: found in this world."""
    assert World(14_100, 5, 5, learns=FEDAVG).run().violation is None
