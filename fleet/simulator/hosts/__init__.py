"""The machines of a world: each runs production's own program, and dies and starts as real ones do."""

from fleet.simulator.hosts.aggregator import AggregatorHost
from fleet.simulator.hosts.device import DeviceHost
from fleet.simulator.hosts.machine import RESTART_S, Host
from fleet.simulator.hosts.scene import Scene

__all__ = ["RESTART_S", "AggregatorHost", "DeviceHost", "Host", "Scene"]
