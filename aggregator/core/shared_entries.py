"""Updates of a part of the model's entries, where the others never leave the devices. Pure.

With a personal model such as `head` an update has q of the model's p entries, in order. As soon as it is
decoded it becomes a whole vector: the other entries are those of the base. So bounds, rules, server
optimizers and probes see whole vectors, and the entries that are not shared keep their first values.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.core.parts import Part, Vector, whole
from fedge.algorithms.protocols import Codec
from fedge.algorithms.registry import PERSONAL
from fedge.nn.spec import NetworkSpec

Mask = NDArray[np.bool_]


def shared_by(personal: Part, network: NetworkSpec) -> Mask | None:
    """Which entries of the weights an update has, a mask of shape (p,); None: all. Do not change it.

    Raises:
        ValueError: the network cannot be divided so; the text says what to do.
    """
    return None if personal.name == "none" else _shared_by(personal, network)


@lru_cache(maxsize=8)
def _shared_by(personal: Part, network: NetworkSpec) -> Mask | None:
    mask = personal.made(PERSONAL).shared(network)
    if mask is None:
        return None
    size = network.schema.size
    if mask.shape != (size,) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(
            f"[personal] name: {personal.name!r} shares {mask.dtype} of shape {mask.shape}, expected a mask "
            f"of shape ({size},) that is true somewhere"
        )
    mask.flags.writeable = False
    return mask


def same_entries(before: Part, now: Part, network: NetworkSpec) -> bool:
    """Whether updates have the same entries with two personal models, so that either can read them."""
    if before == now:
        return True
    was, wanted = _mask(before, network), _mask(now, network)
    return was is not None and wanted is not None and np.array_equal(was, wanted)


def unfit_entries(before: Part, now: Part, network: NetworkSpec) -> str | None:
    """Why a generation cannot go on with another personal model; None: it can.

    With as many entries, but others, an update that a device has made and not sent yet would be admitted, and
    read as one of those others.
    """
    was, wanted = _mask(before, network), _mask(now, network)
    if was is None or wanted is None or was.sum() != wanted.sum() or np.array_equal(was, wanted):
        return None
    return (
        f"[personal]: {before.name} {before.options} of this generation cannot change to {now.name} "
        f"{now.options} within it, because as many, but other weights would be shared: change it back, or "
        "begin a new generation with `fedge-aggregator new-generation --keep-model`"
    )


def _mask(personal: Part, network: NetworkSpec) -> Mask | None:
    """The whole mask of shape (p,); None: the part is not there, or cannot divide the network."""
    try:
        mask = shared_by(personal, network)
    except ValueError:
        return None
    return np.ones(network.schema.size, np.bool_) if mask is None else mask


def sent_entries(mask: Mask | None, size: int) -> int:
    """q, the number of entries that an update has, of p = `size`."""
    return size if mask is None else int(np.count_nonzero(mask))


def completed(mask: Mask | None, codec: Codec, vector: NDArray[np.float32], base: Vector | None) -> Vector:
    """The whole weights of shape (p,) from a decoded vector of shape (q,).

    Args:
        mask: as from `shared_by`.
        codec: the codec that the vector was encoded with.
        vector: the decoded vector.
        base: the weights that the update began from, of shape (p,).

    Raises:
        ValueError: the base is needed, and there is none.
    """
    if mask is None:
        return whole(codec, vector, base)
    if base is None:
        raise ValueError("an update of a part of the entries needs the weights that it was made from")
    part: NDArray[np.floating[Any]] = whole(codec, vector, base[mask])
    found = base.astype(part.dtype)
    found[mask] = part
    return found
