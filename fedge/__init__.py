"""Fedge: federated learning for fleets of small devices, over MQTT.

The public API: what a program needs to describe a network, train it locally and speak the protocol.
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fedge.algorithms.plan import Plan, fedsgd
    from fedge.errors import ConfigError, Conflict, DataError, FedgeError, ProtocolError, StateError
    from fedge.nn.schema import Schema

__version__ = "0.2.0"

__all__ = [
    "ConfigError",
    "Conflict",
    "DataError",
    "FedgeError",
    "Plan",
    "ProtocolError",
    "Schema",
    "StateError",
    "__version__",
    "fedsgd",
]

_MODULES = {"Plan": "algorithms.plan", "fedsgd": "algorithms.plan", "Schema": "nn.schema"}
_RENAMED = {"GaveWay": "Conflict"}
"""Names of 0.2.0, and what they are called now."""


def __getattr__(name: str) -> object:
    """Import a name of the API when it is asked for: what installs Fedge runs where NumPy is not yet."""
    if name in _RENAMED:
        new = _RENAMED[name]
        warnings.warn(f"fedge.{name} is called fedge.{new} now", DeprecationWarning, stacklevel=2)
        name = new
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"fedge.{_MODULES.get(name, 'errors')}"), name)
