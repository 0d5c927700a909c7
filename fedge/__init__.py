"""Fedge: federated learning for fleets of small devices, over MQTT.

The public API: what a program needs to describe a network, train it locally and speak the protocol.
"""

from fedge.errors import ConfigError, DataError, FedgeError, GaveWay, ProtocolError, StateError
from fedge.plan import Plan, fedsgd
from fedge.schema import Schema

__version__ = "0.1.0"

__all__ = [
    "ConfigError",
    "DataError",
    "FedgeError",
    "GaveWay",
    "Plan",
    "ProtocolError",
    "Schema",
    "StateError",
    "__version__",
    "fedsgd",
]
