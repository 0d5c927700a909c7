"""Fedge: federated learning for fleets of small devices, over MQTT.

The public API: describe a task, simulate a federation in this process (`simulate`), use a trained model
(`load_model`), read the history of rounds (`read_rounds`), run a device (`Agent`).
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aggregator.ledger.views import RoundRow
    from fedge.algorithms.plan import Plan, fedsgd
    from fedge.errors import ConfigError, Conflict, DataError, FedgeError, ProtocolError, StateError
    from fedge.nn.network import Network
    from fedge.nn.schema import Schema
    from fedge.nn.spec import NetworkSpec
    from fedge.wire.messages.task import Task
    from fleet.library.agent import Agent
    from fleet.library.algorithm import Algorithm
    from fleet.library.history import read_rounds
    from fleet.library.models import Model, load_model
    from fleet.library.results import Point, Progress, Result
    from fleet.library.simulation import simulate

__version__ = "0.2.0"

__all__ = [
    "Agent",
    "Algorithm",
    "ConfigError",
    "Conflict",
    "DataError",
    "FedgeError",
    "Model",
    "Network",
    "NetworkSpec",
    "Plan",
    "Point",
    "Progress",
    "ProtocolError",
    "Result",
    "RoundRow",
    "Schema",
    "StateError",
    "Task",
    "__version__",
    "fedsgd",
    "load_model",
    "read_rounds",
    "simulate",
]

_MODULES = {
    "Agent": "fleet.library.agent",
    "Algorithm": "fleet.library.algorithm",
    "Model": "fleet.library.models",
    "Network": "fedge.nn.network",
    "NetworkSpec": "fedge.nn.spec",
    "Plan": "fedge.algorithms.plan",
    "Point": "fleet.library.results",
    "Progress": "fleet.library.results",
    "Result": "fleet.library.results",
    "RoundRow": "aggregator.ledger.views",
    "Schema": "fedge.nn.schema",
    "Task": "fedge.wire.messages.task",
    "fedsgd": "fedge.algorithms.plan",
    "load_model": "fleet.library.models",
    "read_rounds": "fleet.library.history",
    "simulate": "fleet.library.simulation",
}
"""The module of each name; the others are in `fedge.errors`. Modules of higher layers are only named here,
not imported (docs/adr/0024-the-library-is-named-below.md)."""
_NEEDS_AGGREGATOR = {"simulate"}
_RENAMED = {"GaveWay": "Conflict"}
"""Names of 0.2.0, and their present names."""


def __getattr__(name: str) -> object:
    """Import a name of the API on first use: the installer imports `fedge` before NumPy is installed.

    Raises:
        ConfigError: the name needs a package of the extra `aggregator`, which is not installed.
    """
    if name in _RENAMED:
        new = _RENAMED[name]
        warnings.warn(f"fedge.{name} is called fedge.{new} now", DeprecationWarning, stacklevel=2)
        name = new
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(_MODULES.get(name, "fedge.errors"))
    except ModuleNotFoundError as error:
        if name not in _NEEDS_AGGREGATOR:
            raise
        from fedge.errors import ConfigError

        raise ConfigError(
            f"fedge.{name} needs the extra 'aggregator' (no module {error.name!r}): "
            "pip install 'fedge[aggregator]'"
        ) from None
    return getattr(module, name)


def __dir__() -> list[str]:
    """The names of the API, for `dir()` and completion."""
    return sorted(__all__)
