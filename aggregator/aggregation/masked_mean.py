"""The mean of a masked round, from the sum that the ledger keeps."""

import numpy as np
from numpy.typing import NDArray

from aggregator.aggregation import server_state
from aggregator.aggregation.job import ClosingJob
from aggregator.aggregation.past import Past
from aggregator.ledger.records import MaskedSum
from fedge.algorithms.protocols import State
from fedge.algorithms.registry import SERVER
from fedge.errors import DamagedState

Vector = NDArray[np.float32]

RULE = "masked-mean/1"
"""Name and version of the rule that closes masked rounds."""


def mean_of(found: MaskedSum, base: Vector) -> Vector:
    """The model plus the mean of the changes, of shape (p,): float64, rounded once to float32.

    Raises:
        DamagedState: the sum is of another length.
    """
    assert found.levels is not None
    if found.levels.shape != base.shape:
        raise DamagedState(f"a masked sum has {found.levels.size} entries, and the model {base.size}")
    step = found.clip / ((1 << (found.value_bits - 1)) - 1)
    change = step * (found.levels.astype(np.float64) / found.weight)
    return (base.astype(np.float64) + change).astype(np.float32)


def stepped_from(past: Past, job: ClosingJob, base: Vector, aggregate: Vector) -> tuple[Vector, State]:
    """The next model, which the server optimizer makes of the mean, and its state."""
    server = job.parts.server.made(SERVER)
    state = past.state(server, len(base))
    return server_state.step(job.round, job.parts.server, server, base, aggregate, state, 1.0)
