"""One device's part of a round, as a rule sees it, and the order of all of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedge.wire.topics import lane_of

LANES = range(256)
MAX_SAMPLES = 2**53
"""The largest n_k: float64 represents every whole number up to here."""


@dataclass(frozen=True, eq=False)
class Contribution:
    """One device's part of a round: n_k, w_k of shape (p,), and the steps that it took, at least 1."""

    device: str
    samples: int
    vector: NDArray[np.floating[Any]]
    steps: int = 1


def order(device: str) -> tuple[int, str]:
    """The sort key of contributions: lane, then device id."""
    return lane_of(device), device
