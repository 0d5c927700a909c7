"""The settings and sources of a simulated federation, made of the arguments of `simulate`."""

import re
from collections.abc import Mapping
from math import inf
from numbers import Real
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from agent.config import AgentSettings
from agent.sources.caller_sources import GivenArrays
from aggregator.config import FederationSettings
from fedge.algorithms.plan import Plan
from fedge.errors import ConfigError
from fedge.nn.spec import Dense
from fedge.wire.messages.task import Task
from fedge.wire.topics import DEVICE_ID
from fleet.library.algorithm import Algorithm

NAME, SOURCE = "simulation", "data"


def federation_settings(
    task: Task,
    devices: Mapping[str, object],
    algorithm: Algorithm,
    plan: Plan,
    rounds: int,
    seed: int,
    further: Mapping[str, Mapping[str, Any]],
    home: Path,
) -> FederationSettings:
    """The settings of the federation; the defaults are those of `fedge demo`.

    Args:
        task, devices, algorithm, plan, rounds, seed: as in `simulate`.
        further: other tables.
        home: the folder of the ledger and of exported files.

    Raises:
        ConfigError: a setting is wrong, or the parts do not go together.
    """
    *hidden, last = task.network.layers
    if not isinstance(last, Dense):
        raise ConfigError(
            "task: its network must end with a dense layer; the survey adds the layers around it"
        )
    parts = algorithm.tables()
    told = plan.model_dump(exclude_none=True, exclude={"codec", "codec_options", "local", "local_options"})
    model = {key: found for key in ("features", "classes", "targets") if (found := getattr(task, key))}
    tables: dict[str, Mapping[str, Any]] = {
        "federation": {"name": NAME, "seed": seed, "devices": tuple(devices)},
        "model": {**model, "layers": [layer.model_dump() for layer in hidden]},
        "rounds": {"target": len(devices), "quorum": len(devices), "deadline_s": 60.0},
        "stopping": {"rounds": rounds},
        "state": {"folder": home / "state", "keep_rounds": rounds + 2},
        "export": {"folder": home / "export"},
        **parts,
        "plan": {**told, **parts["plan"]},
    }
    for name, table in further.items():
        if not isinstance(table, Mapping):
            raise ConfigError(f"simulate: settings[{name!r}] is {table!r}, expected a table")
        tables[name] = {**tables.get(name, {}), **table}
    try:
        return FederationSettings.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(f"simulate: {first_of(error)}") from None


def source_of(name: object, data: object) -> GivenArrays:
    """The source of a device's samples."""
    if not isinstance(name, str) or not re.fullmatch(DEVICE_ID, name):
        raise ConfigError(f"simulate: {name!r} is no name of a device: it must match {DEVICE_ID}")
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        found = f"{type(data).__name__}" + (f" of {len(data)}" if isinstance(data, tuple | list) else "")
        raise ConfigError(f"simulate: device {name!r} is given {found}, expected (X, y) or (X, y, series)")
    return GivenArrays(SOURCE, *data)


def checked_seconds(seconds: object, devices: Mapping[str, object]) -> dict[str, float]:
    """How long each device trains, as `simulate` is told it: virtual seconds by the device's name.

    Raises:
        ConfigError: it is no mapping, names no device of the federation, or is no time.
    """
    if not isinstance(seconds, Mapping):
        raise ConfigError(f"simulate: seconds is {seconds!r}, expected a mapping from devices to numbers")
    if unknown := [name for name in seconds if name not in devices]:
        raise ConfigError(f"simulate: seconds names {unknown[0]!r}, which is not among the devices")
    for name, given in seconds.items():
        if not isinstance(given, Real) or not 0 <= float(given) < inf:
            raise ConfigError(
                f"simulate: seconds of device {name!r} is {given!r}, expected a finite number, 0 or above"
            )
    return {name: float(given) for name, given in seconds.items()}


def agent_settings(name: str, holdout: float, home: Path) -> AgentSettings:
    """The settings of a device.

    Args:
        name: the device's id.
        holdout: the share of each recording that is held out.
        home: the folder of the simulation.

    Raises:
        ConfigError: a setting is wrong.
    """
    tables = {
        "federation": NAME,
        "device": name,
        "data": {"source": "python", "callable": "given:arrays", "holdout": holdout},
        "state": {"folder": home / "devices" / name},
    }
    try:
        return AgentSettings.model_validate(tables)
    except ValidationError as error:
        raise ConfigError(f"simulate: device {name!r}: {first_of(error)}") from None


def first_of(error: ValidationError) -> str:
    """The first of the errors that pydantic found, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    what = first["msg"].removeprefix("Value error, ")
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {what}" if where else what
