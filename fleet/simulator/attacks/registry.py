"""The attacks by their names."""

from collections.abc import Mapping
from typing import Any

from fedge.algorithms.registry import Registry
from fleet.simulator.attacks.attack import Attack

ATTACKS: "Registry[Attack]" = Registry("attack", "fleet.simulator.attacks")


def attack(told: str | Mapping[str, Any]) -> Attack:
    """An attack by its name, or by a table with its `name` and its options.

    >>> attack({"name": "ipm", "epsilon": 2.0}).epsilon
    2.0

    Raises:
        ValueError: there is no such attack or option, or a value is wrong; the text says which.
    """
    table = {"name": told} if isinstance(told, str) else dict(told)
    if "name" not in table:
        raise ValueError(f"an attack is {told!r}, expected a name or a table with `name`")
    return ATTACKS.make(str(table.pop("name")), table)
