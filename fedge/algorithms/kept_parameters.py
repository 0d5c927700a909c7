"""The parameters of a shared model that nobody trains, because each device keeps its own of them.

With a personal model such as `head` they hold the first weights of the generation in every shared model.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.nn.spec import NetworkSpec

UNTRAINED = "untrained"
"""The name of the entry in an exported file's metadata that names them."""


def kept_parameters(mask: NDArray[np.bool_] | None, network: NetworkSpec) -> tuple[str, ...]:
    """The parameters that never leave the devices, by their names in exported files; () if all are shared.

    Args:
        mask: which weights leave them, of shape (p,), as `Personal.shared` says; None: all.
        network: the task's network.
    """
    if mask is None:
        return ()
    slices: dict[str, Any] = dict(network.schema.slices)
    return tuple(name for name, place in slices.items() if not mask[place].any())


def untrained(names: tuple[str, ...]) -> str:
    """What a shared model's `kept_parameters` are, for whoever uses its files."""
    return (
        f"{', '.join(names)} hold first weights that nobody has trained: with [personal] each device keeps "
        "its own, and they never leave it; `fedge-agent export` writes a device's own model"
    )
