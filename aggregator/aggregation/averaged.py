"""What a training round closes with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aggregator.core.verdicts import Weighed
from fedge.algorithms.protocols import State

Vector = NDArray[np.float32]


@dataclass(frozen=True)
class Averaged:
    """A round's next model, and the round's figures."""

    vector: Vector
    """Its weights, of shape (p,)."""
    devices: int
    samples: int
    summary: dict[str, float]
    bounded: tuple[str, ...] = ()
    vectors: Mapping[str, Vector] = field(default_factory=dict)
    """Its further vectors."""
    state: State = field(default_factory=dict)
    """The states of server optimizer and rule after this round (`server_state.joined`)."""
    fleet: int | None = None
    """N, the number of devices of the fleet."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """Entries of the ledger's summary that are not numbers."""
    weighed: Mapping[str, Weighed] = field(default_factory=dict)
    """How much updates counted, by device."""
    inputs: str | None = None
    """With noise: the digest of what it was computed from (`aggregator.aggregation.noise`)."""
