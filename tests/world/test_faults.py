"""What goes wrong in a world passes when it is over: what lasts would be the mistake of the world."""

from fleet.simulator.faults import Fault
from fleet.simulator.link import SLOW_S, Weather
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
    world = World(0, 2, 2)
    world.schedule = tuple(
        Fault(at_s, "slow network", host, 20.0, 0) for at_s in (2.0, 12.0) for host in (-1, 0)
    )
    assert world.run().violation is None
    for host in (world.machines.aggregator, world.machines.devices[0]):
        assert host.weather.slowed == 0
        assert host.weather.delay_s == host.weather.usual_s
    assert World(908_024, 5, 5).run().violation is None
