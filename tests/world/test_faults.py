"""What goes wrong in a world passes when it is over: what lasts would be the mistake of the world."""

from itertools import product
from typing import get_args

import pytest

from agent.core.effects import Effect as OfAgent
from aggregator.core.effects import MOMENTS
from aggregator.core.effects import Effect as OfAggregator
from fedge.service import failpoints
from fleet.simulator.compositions import FEDAVG
from fleet.simulator.crash import Power, PowerCut
from fleet.simulator.faults import Fault
from fleet.simulator.place import SLOW_S, Weather
from fleet.simulator.world import World


def test_a_network_is_slow_until_all_that_slows_it_is_over() -> None:
    weather = Weather(usual_s=0.02)
    weather.slowed += 1
    weather.slowed += 1
    assert weather.delay_s == SLOW_S
    weather.slowed -= 1
    assert weather.delay_s == SLOW_S
    weather.slowed -= 1
    assert weather.delay_s == 0.02


def test_slow_networks_that_overlap_leave_none_behind() -> None:
    """Else a device that could be in time in the calm is not, and no program could help it: world 908024."""
    world = World(0, 2, 2, learns=FEDAVG)
    world.schedule = tuple(
        Fault(at_s, "slow network", host, 20.0, 0) for at_s in (2.0, 12.0) for host in (-1, 0)
    )
    assert world.run().violation is None
    for host in (world.machines.aggregator, world.machines.devices[0]):
        assert host.weather.slowed == 0
        assert host.weather.delay_s == host.weather.usual_s
    assert World(908_024, 5, 5, learns=FEDAVG).run().violation is None


def test_a_host_dies_at_a_failpoint_as_at_any_other_effect() -> None:
    power = Power()
    power.effects_left = 1
    with failpoints.watched_by(power):
        failpoints.before("Save")
        with pytest.raises(PowerCut):
            failpoints.after("Save")
    failpoints.before("Save")


def test_the_failpoints_of_production_are_where_hosts_die(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each host's own: of a device's effects and of the aggregator's, before and after them."""
    deaths: set[tuple[str, str]] = set()
    reach = Power.reach

    def noted(self: Power, what: object, when: failpoints.When) -> None:
        try:
            reach(self, what, when)
        except PowerCut:
            deaths.add((what if isinstance(what, str) else type(what).__name__, when))
            raise

    monkeypatch.setattr(Power, "reach", noted)
    for seed, host in product((0, 2), (-1, 0)):
        world = World(seed, 2, 12, learns=FEDAVG)
        world.schedule = tuple(
            Fault(4.0 * (number + 1), "kill", host, 0.3, number % 12) for number in range(48)
        )
        assert world.run().violation is None
    agents, aggregators = ({effect.__name__ for effect in get_args(of)} for of in (OfAgent, OfAggregator))
    for names, when in product(
        (agents - aggregators, aggregators - agents, set(MOMENTS)), ("before", "after")
    ):
        assert {name for name, moment in deaths if moment == when} & names
