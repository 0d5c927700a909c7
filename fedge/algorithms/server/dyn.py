"""The server of FedDyn: it corrects the mean by the sum of all earlier changes.

Acar, Zhao, Matas Navarro, Mattina, Whatmough and Saligrama 2021, "Federated Learning Based on Dynamic
Regularization", ICLR, https://arxiv.org/abs/2111.04263, Algorithm 1: with P the devices of the round and m
those of the fleet, h ← h - α/m Σ_P (w_k - w), w ← 1/|P| Σ_P w_k - h/α.

This keeps u = h/α, from which α cancels: with the share s = |P|/m and the uniform mean of the w_k,

    u ← u - s (aggregate - base)
    w ← aggregate - u

The local algorithm `dyn` has α. At a fixed point the aggregate is the base, and u is 0.

So the changes that have counted add up to 0: what a liar has added, the others have taken away, into their
own states. The model ends α / (m - 1) times the sum of the liar's changes, divided by the curvature of the
others' loss, away from their optimum. A bound on each round's change does not bound their sum.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.algorithms.protocols import State
from fedge.algorithms.registry import Entry, Need


class Dyn:
    """Keeps u, of shape (size,) in float64, in the units of the weights."""

    def init(self, size: int) -> dict[str, NDArray[Any]]:
        """u = 0."""
        return {"u": np.zeros(size)}

    def step(
        self, base: NDArray[np.float32], aggregate: NDArray[np.float32], state: State, share: float
    ) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
        """Return aggregate - u, in float64 and rounded once to the type of the base, and the next u."""
        u = state["u"] - share * np.subtract(aggregate, base, dtype=np.float64)
        return (aggregate - u).astype(base.dtype), {"u": u}


ENTRY = Entry(
    "server",
    "dyn",
    Dyn,
    needs=(
        Need("local", ("dyn",), why="its correction belongs to the devices' own in FedDyn"),
        Need("rule", ("mean",), (("weights", "uniform"),), why="FedDyn's sums count each device the same"),
    ),
)
