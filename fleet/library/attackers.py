"""The attackers of a simulated federation: who attacks, how, and on which rows they train."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedge.errors import ConfigError
from fedge.wire.messages.task import Task
from fleet.simulator.attacks.attack import Attack
from fleet.simulator.attacks.registry import attack

Told = str | Mapping[str, Any]
"""An attack's name, or a table with its `name` and its options."""


@dataclass(frozen=True, eq=False)
class Group:
    """Attackers with one attack and the same options, who act together."""

    attack: Attack
    devices: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Attackers:
    """All attackers of a federation."""

    groups: tuple[Group, ...] = ()
    seed: int = 0
    by_device: Mapping[str, Attack] = field(default_factory=dict)

    def rows(self, name: str, data: Any, task: Task) -> Any:
        """The (X, y) or (X, y, series) that a device trains on, which is given this.

        Raises:
            ConfigError: the attack cannot change these data.
        """
        lie = self.by_device.get(name)
        if lie is None or not lie.poisons:
            return data
        where = f"simulate: attackers: {name!r}"
        if task.classes is None:
            raise ConfigError(f"{where}: this attack changes labels, and the task has no classes")
        X, y, *series = data
        known = {each: number for number, each in enumerate(task.classes)}
        try:
            labels = np.array([known[each] if isinstance(each, str) else int(each) for each in np.asarray(y)])
            number = sorted(self.by_device).index(name)
            X, labels = lie.rows(np.asarray(X), labels, len(task.classes), self.seed + number)
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(f"{where}: {error}") from None
        return (X, labels, *series)


def attackers_of(given: Mapping[str, Told] | None, devices: Mapping[str, object], seed: int) -> Attackers:
    """The attackers, as `simulate` is told them.

    Args:
        given: the attack of each attacker, by its device's name.
        devices: all devices.
        seed: of the federation.

    Raises:
        ConfigError: a device, an attack or an option is wrong.
    """
    if given is None:
        return Attackers()
    if not isinstance(given, Mapping):
        raise ConfigError(f"simulate: attackers is {given!r}, expected a mapping from devices to attacks")
    if unknown := [name for name in given if name not in devices]:
        raise ConfigError(f"simulate: attackers names {unknown[0]!r}, which is not among the devices")
    made: dict[str, Attack] = {}
    groups: dict[str, list[str]] = {}
    for name in sorted(given):
        told = given[name]
        try:
            key = json.dumps({"name": told} if isinstance(told, str) else told, sort_keys=True, default=repr)
            made[name] = made[groups[key][0]] if key in groups else attack(told)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"simulate: attackers: {name!r}: {error}") from None
        groups.setdefault(key, []).append(name)
    if len(made) == len(devices):
        raise ConfigError("simulate: attackers are all devices; at least one has to be honest")
    return Attackers(tuple(Group(made[names[0]], tuple(names)) for names in groups.values()), seed, made)
