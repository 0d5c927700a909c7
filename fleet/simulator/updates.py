"""Make the updates of a world's devices and liars in the programs' own format."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fedge.wire.freshness import RoundId
from fedge.wire.messages.update import Update


def update(
    here: RoundId,
    base: bytes,
    device: str,
    samples: int,
    weights: NDArray[np.float32] | None,
    told: Mapping[str, float],
    *,
    steps: int = 1,
    vectors: Mapping[str, NDArray[np.float32]] | None = None,
    cluster: int | None = None,
) -> Update:
    """Make an update.

    Args:
        here: the round that it answers.
        base: the digest of the model that it was made from.
        device: the device that sends it.
        samples: n_k.
        weights: of shape (p,), after some steps; None: the device only measured the model.
        told: the figures that it reports.
        steps: how many it says it took.
        vectors: the further vectors of shape (p,), by name.
        cluster: the shared model that it says it trained; None: the first.
    """
    measured = weights is None
    return Update(
        generation=here.generation,
        round=here.round,
        base=base,
        device=device,
        samples=samples,
        steps=0 if measured else steps,
        kind="figures" if measured else "weights",
        codec="float32",
        body=b"" if weights is None else weights.astype("<f4").tobytes(),
        vectors={name: v.astype("<f4").tobytes() for name, v in (vectors or {}).items()} or None,
        cluster=cluster,
        metrics=dict(told),
    )
